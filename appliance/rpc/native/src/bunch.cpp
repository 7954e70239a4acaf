#include "bunch.h"

#include <utility>

#include "call.h"
#include "io.h"
#include "server.h"
#include "together.h"

namespace appliance {

namespace {

// Whoever was answered first waits for no more than this, and for the answer after it. Longer ones gain nothing.
constexpr std::chrono::microseconds kLongest(200);

thread_local Bunch bunch;

}  // namespace

Bunch* Bunch::of_this_thread() { return bunch.depth_ > 0 ? &bunch : nullptr; }

void Bunch::begin() { ++bunch.depth_; }

void Bunch::end() {
  if (--bunch.depth_ == 0) {
    bunch.send();
  }
}

void Bunch::add(std::shared_ptr<Call> call, Message message, int code, const std::string& details) {
  if (!answers_.empty() && &answers_.front().call->server().io() != &call->server().io()) {
    send();
  }
  const auto now = std::chrono::steady_clock::now();
  if (answers_.empty()) {
    since_ = now;
  }
  answers_.push_back({std::move(call), std::move(message), code, details});
  if (now - since_ >= kLongest) {
    send();
  }
}

void Bunch::send() {
  if (answers_.empty()) {
    return;
  }
  answers_.front().call->server().io().operate([this] {
    together([this] {
      for (Answer& answer : answers_) {
        answer.call->send_last(std::move(answer.message), answer.code, answer.details, /*with_others=*/true);
      }
    });
  });
  answers_.clear();
}

}  // namespace appliance
