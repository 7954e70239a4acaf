#include "bunch.h"

#include <utility>

#include "call.h"
#include "io.h"
#include "server.h"
#include "together.h"

namespace appliance {

namespace {

// Whoever was answered first waits for no more than this, and for what its thread is at just then. Longer ones gain
// nothing.
constexpr std::chrono::microseconds kLongest(200);

thread_local Bunch bunch;

}  // namespace

Bunch* Bunch::of_this_thread() { return bunch.depth_ > 0 ? &bunch : nullptr; }

void Bunch::begin() { ++bunch.depth_; }

void Bunch::end() {
  if (bunch.depth_ > 0 && --bunch.depth_ == 0) {
    bunch.send();
  }
}

bool Bunch::is_late() {
  return !bunch.answers_.empty() && std::chrono::steady_clock::now() - bunch.since_ >= kLongest;
}

void Bunch::send_now() { bunch.send(); }

void Bunch::add(std::shared_ptr<Call> call, Message message, int code, const std::string& details) {
  if (!answers_.empty() && &answers_.front().call->server().io() != &call->server().io()) {
    send();
  }
  if (answers_.empty()) {
    since_ = std::chrono::steady_clock::now();
  }
  answers_.push_back({std::move(call), std::move(message), code, details});
  if (is_late()) {
    send();
  }
}

void Bunch::send() {
  if (answers_.size() > 1 && can_begin_together()) {
    answers_.front().call->server().io().operate([this] { together([this] { send_each(/*with_others=*/true); }); });
  } else {
    send_each(/*with_others=*/false);
  }
  answers_.clear();
}

void Bunch::send_each(bool with_others) {
  for (Answer& answer : answers_) {
    answer.call->send_last(std::move(answer.message), answer.code, answer.details, with_others);
  }
}

}  // namespace appliance
