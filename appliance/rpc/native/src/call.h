// One call, from its arrival to the last thing that gRPC has to say about it.
//
// `watch`, `read`, `write`, `reply` and `finish` may be called by any thread. Of the last three, nobody calls two at
// once for the same call.
#pragma once

#include <grpc/grpc.h>
#include <grpc/support/time.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server.h"

namespace appliance {

class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<Server> server, grpc_completion_queue* queue, const Method* method);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call();

  // Wait for a client; another Call waits as soon as this one has found one.
  void wait();

  // Have it told when nobody waits for the answer any more: an event kCancelled. What is answered at once needs none of
  // it, and that saves gRPC and the I/O thread a part of their work.
  void watch();

  // Ask for the next message of the client: an event kMessage or kNoMessage follows, or kCancelled. Nothing if it was
  // asked for already.
  void read();

  // Send one message of a stream: an event kWritten follows, or kCancelled. Throws std::logic_error if the one before
  // is not written yet.
  void write(Message message);

  // Send the only message and end the call well.
  void reply(Message message);

  // End the call. code: gRPC's number.
  void finish(int code, const std::string& details);

  // What `reply` and `finish` do, at once or when their thread has collected answers. with_others: within `together`
  // and Io::operate.
  void send_last(Message message, int code, const std::string& details, bool with_others);

  // Who calls, in gRPC's words.
  std::string peer() const;

  // Whom the client's verified certificate names: subject alternative names, else its common name.
  std::vector<std::string> certificate_names() const;

  // Monotonic seconds; nothing if the client set no deadline.
  std::optional<double> deadline_s() const;

  // Whether the client has stopped waiting by now.
  bool expired() const { return gpr_time_cmp(deadline_, gpr_now(deadline_.clock_type)) <= 0; }

  const grpc_metadata_array& metadata() const { return metadata_; }
  Server& server() const { return *server_; }

 private:
  // What a completion queue gives back. It keeps its call alive from the beginning of the operation to its end.
  class Operation final : public Completion {
   public:
    explicit Operation(void (Call::*then)(bool)) : then_(then) {}
    void* begin(Call* call) {
      call_ = call->shared_from_this();
      return static_cast<Completion*>(this);
    }
    void complete(bool ok) override {
      const auto call = std::move(call_);
      (call.get()->*then_)(ok);
    }

   private:
    void (Call::*const then_)(bool);
    std::shared_ptr<Call> call_;
  };

  void arrived(bool ok);
  void has_read(bool ok);
  void has_written(bool ok);
  void has_finished(bool ok);
  void has_ended(bool ok);
  void take_request();
  void end_with(Message message, int code, const std::string& details);
  bool close_is_asked_for() { return close_asked_.exchange(true); }
  grpc_op close_operation();
  void send(Message message, const grpc_status_code* status, const std::string& details, Operation& operation,
            bool with_others);
  void tell(int kind, Slice payload = Slice());

  const std::shared_ptr<Server> server_;
  grpc_completion_queue* const queue_;
  const Method* const method_;
  grpc_call* call_ = nullptr;
  grpc_call_details details_;  // of a call that is not registered
  gpr_timespec deadline_;
  grpc_metadata_array metadata_;
  Message incoming_;
  Message outgoing_;
  Operation arrival_{&Call::arrived};
  Operation reading_{&Call::has_read};
  Operation writing_{&Call::has_written};
  Operation finishing_{&Call::has_finished};
  Operation end_{&Call::has_ended};
  int cancelled_ = 0;
  bool entered_ = false;              // among those that the server counts
  bool headers_sent_ = false;
  std::atomic<bool> reading_now_ = false;
  std::atomic<bool> writing_now_ = false;
  std::atomic<bool> close_asked_ = false;
  std::atomic<bool> ending_ = false;  // it is answered
};

}  // namespace appliance
