#include "io.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

namespace appliance {

Io::Io(int threads) : Io(threads, std::make_shared<Inbox>()) {}

Io::Io(int threads, std::shared_ptr<Inbox> inbox)
    : sent(std::make_shared<SentBuffers>([inbox] { inbox->wake(); })), inbox_(inbox) {
#ifdef GRPC_EXPERIMENTS
  setenv("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS, 0);  // the only way to say so; whoever sets it for himself has his way
#endif
  grpc_init();  // and never grpc_shutdown: calls and buffers may outlive this
  for (int i = 0; i < threads; ++i) {
    queues_.push_back(grpc_completion_queue_create_for_next(nullptr));
    threads_.emplace_back(run, queues_.back());
  }
}

Io::~Io() {
  close();
  for (grpc_completion_queue* queue : queues_) {
    grpc_completion_queue_destroy(queue);
  }
}

void Io::close() {
  {
    std::unique_lock lock(closing_);
    if (closed_) {
      return;
    }
    closed_ = true;
  }
  for (grpc_completion_queue* queue : queues_) {
    grpc_completion_queue_shutdown(queue);
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void Io::run(grpc_completion_queue* queue) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are Python's
  pthread_setname_np(pthread_self(), "grpc-io");
  for (;;) {
    const grpc_event event = grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    if (event.type == GRPC_QUEUE_SHUTDOWN) {
      return;
    }
    static_cast<Completion*>(event.tag)->complete(event.success != 0);
  }
}

}  // namespace appliance
