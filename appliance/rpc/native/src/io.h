// The I/O threads: each waits at a completion queue of its own, and does what becomes of what gRPC has completed. All
// servers of a process share them: with queues of their own, gRPC lets one thread wait for the network and hand over
// to the others what is theirs, and that costs more than the work.
#pragma once

#include <grpc/grpc.h>

#include <memory>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "inbox.h"
#include "payload.h"

namespace appliance {

// What stands behind a tag of a completion queue.
class Completion {
 public:
  virtual void complete(bool ok) = 0;

 protected:
  ~Completion() = default;
};

class Io : public std::enable_shared_from_this<Io> {
 public:
  explicit Io(int threads);
  Io(const Io&) = delete;
  Io& operator=(const Io&) = delete;
  ~Io();

  const std::vector<grpc_completion_queue*>& queues() const { return queues_; }

  // Run what begins an operation of gRPC, unless the queues are closed: then nobody would hear of its end.
  template <typename Begin>
  void operate(Begin begin) {
    std::shared_lock lock(closing_);
    if (!closed_) {
      begin();
    }
  }

  // The same for an operation that mostly completes at once: then that is dealt with here, on this thread, because
  // waking the I/O thread for it costs more than it is.
  template <typename Begin>
  void operate_and_complete(grpc_completion_queue* queue, Begin begin) {
    void* tag = nullptr;
    int ok = 0;
    bool completed = false;
    operate([&] {
      grpc_completion_queue_thread_local_cache_init(queue);
      begin();
      completed = grpc_completion_queue_thread_local_cache_flush(queue, &tag, &ok) == 1;
    });
    if (completed) {
      static_cast<Completion*>(tag)->complete(ok != 0);
    }
  }

  // End the threads; every server has stopped before. Blocks.
  void close();

  Inbox& inbox() { return *inbox_; }

  // gRPC may let go of a buffer after this is gone.
  const std::shared_ptr<SentBuffers> sent;

 private:
  explicit Io(int threads, std::shared_ptr<Inbox> inbox);
  static void run(grpc_completion_queue* queue);

  const std::shared_ptr<Inbox> inbox_;
  std::vector<grpc_completion_queue*> queues_;
  std::vector<std::thread> threads_;
  std::shared_mutex closing_;
  bool closed_ = false;
};

}  // namespace appliance
