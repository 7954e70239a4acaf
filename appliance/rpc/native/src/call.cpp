#include "call.h"

#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "bunch.h"
#include "together.h"

namespace appliance {

namespace {

// An operation that gRPC does not begin is a mistake in here: nobody would ever hear of its end.
void must(grpc_call_error error) {
  if (error != GRPC_CALL_OK) {
    std::fprintf(stderr, "the native transport used gRPC wrongly: %s\n", grpc_call_error_to_string(error));
    std::abort();
  }
}

}  // namespace

Call::Call(std::shared_ptr<Server> server, grpc_completion_queue* queue, const Method* method)
    : server_(std::move(server)), queue_(queue), method_(method), deadline_(gpr_inf_future(GPR_CLOCK_REALTIME)) {
  grpc_metadata_array_init(&metadata_);
  grpc_call_details_init(&details_);
}

Call::~Call() {
  if (entered_) {
    server_->leave();
  }
  grpc_call_details_destroy(&details_);
  grpc_metadata_array_destroy(&metadata_);
  if (call_ != nullptr) {
    grpc_call_unref(call_);
  }
}

void Call::wait() {
  void* tag = arrival_.begin(this);
  if (method_->registered == nullptr) {
    must(grpc_server_request_call(server_->get(), &call_, &details_, &metadata_, queue_, queue_, tag));
    return;
  }
  grpc_byte_buffer** request = method_->reads_itself ? nullptr : incoming_.to_fill();
  must(grpc_server_request_registered_call(server_->get(), method_->registered, &call_, &deadline_, &metadata_, request,
                                           queue_, queue_, tag));
}

void Call::arrived(bool ok) {
  if (!ok) {  // the server stops
    return;
  }
  server_->wait_for_call(queue_, method_);
  if (method_->registered == nullptr) {
    finish(GRPC_STATUS_UNIMPLEMENTED, "Method not found!");
    return;
  }
  entered_ = server_->enter();
  if (!entered_) {
    finish(GRPC_STATUS_RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!");
  } else if (method_->reads_itself) {
    tell(method_->number);
  } else {
    take_request();
  }
}

void Call::take_request() {
  if (!incoming_) {
    finish(GRPC_STATUS_INTERNAL, "the call ended without a request");
    return;
  }
  Slice request = contiguous(incoming_);
  incoming_.reset();
  tell(method_->number, std::move(request));
}

grpc_op Call::close_operation() {
  grpc_op close{};
  close.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
  close.data.recv_close_on_server.cancelled = &cancelled_;
  return close;
}

void Call::watch() {
  if (close_is_asked_for()) {
    return;
  }
  const grpc_op close = close_operation();
  server_->io().operate([&] {
    must(grpc_call_start_batch(call_, &close, 1, end_.begin(this), nullptr));
  });
}

void Call::read() {
  if (reading_now_.exchange(true)) {
    return;
  }
  server_->io().operate([this] {
    grpc_op receive{};
    receive.op = GRPC_OP_RECV_MESSAGE;
    receive.data.recv_message.recv_message = incoming_.to_fill();
    must(grpc_call_start_batch(call_, &receive, 1, reading_.begin(this), nullptr));
  });
}

void Call::has_read(bool ok) {
  const bool last = !ok || !incoming_;
  Slice message = last ? Slice() : contiguous(incoming_);
  incoming_.reset();
  reading_now_.store(false);  // from here on the next may be asked for
  tell(last ? kNoMessage : kMessage, std::move(message));
}

void Call::write(Message message) {
  if (writing_now_.exchange(true)) {
    throw std::logic_error("the message before is not written yet");
  }
  send(std::move(message), nullptr, {}, writing_, /*with_others=*/false);
}

void Call::has_written(bool ok) {
  writing_now_.store(false);
  if (ok) {
    tell(kWritten);
  }  // else it is cancelled, which is told of by itself
}

void Call::reply(Message message) { end_with(std::move(message), GRPC_STATUS_OK, {}); }

void Call::finish(int code, const std::string& details) { end_with(Message(), code, details); }

void Call::end_with(Message message, int code, const std::string& details) {
  if (ending_.exchange(true)) {
    return;
  }
  if (Bunch* bunch = Bunch::of_this_thread()) {
    bunch->add(shared_from_this(), std::move(message), code, details);
  } else {
    send_last(std::move(message), code, details, /*with_others=*/false);
  }
}

void Call::send_last(Message message, int code, const std::string& details, bool with_others) {
  const auto status = static_cast<grpc_status_code>(code);
  send(std::move(message), &status, details, finishing_, with_others);
}

void Call::send(Message message, const grpc_status_code* status, const std::string& details, Operation& operation,
                bool with_others) {
  std::array<grpc_op, 4> all{};
  size_t count = 0;
  if (!headers_sent_) {
    headers_sent_ = true;
    all[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
  }
  if (message) {
    outgoing_ = std::move(message);
    grpc_op& op = all[count++];
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = outgoing_.get();
  }
  const Slice text(grpc_slice_from_copied_buffer(details.data(), details.size()));
  grpc_slice sentence = const_cast<Slice&>(text).get();
  if (status != nullptr) {
    grpc_op& op = all[count++];
    op.op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op.data.send_status_from_server.status = *status;
    op.data.send_status_from_server.status_details = details.empty() ? nullptr : &sentence;
    if (!close_is_asked_for()) {
      all[count++] = close_operation();
    }
  }
  if (with_others) {
    must(start_together(call_, all.data(), count, operation.begin(this)));
    return;
  }
  server_->io().operate_and_complete(queue_, [&] {
    must(grpc_call_start_batch(call_, all.data(), count, operation.begin(this), nullptr));
  });
}

void Call::has_finished(bool) {}

void Call::has_ended(bool) {
  if (cancelled_ != 0 && !ending_.load()) {
    tell(kCancelled);
  }
}

void Call::tell(int kind, Slice payload) {
  server_->io().inbox().put(Event{kind, shared_from_this(), nullptr, std::move(payload)});
}

std::string Call::peer() const {
  char* peer = grpc_call_get_peer(call_);
  std::string text(peer);
  gpr_free(peer);
  return text;
}

std::vector<std::string> Call::certificate_names() const {
  std::vector<std::string> names;
  grpc_auth_context* context = grpc_call_auth_context(call_);
  grpc_auth_property_iterator properties = grpc_auth_context_peer_identity(context);
  while (const grpc_auth_property* property = grpc_auth_property_iterator_next(&properties)) {
    names.emplace_back(property->value, property->value_length);
  }
  grpc_auth_context_release(context);
  return names;
}

std::optional<double> Call::deadline_s() const {
  if (gpr_time_cmp(deadline_, gpr_inf_future(deadline_.clock_type)) == 0) {
    return std::nullopt;
  }
  const gpr_timespec monotonic = gpr_convert_clock_type(deadline_, GPR_CLOCK_MONOTONIC);
  return static_cast<double>(monotonic.tv_sec) + static_cast<double>(monotonic.tv_nsec) * 1e-9;
}

}  // namespace appliance
