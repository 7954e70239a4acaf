// Answers of one thread that go to gRPC together, so that those of one connection leave in one write.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "slice.h"

namespace appliance {

class Call;

class Bunch {
 public:
  // What this thread collects now; nullptr if its answers go at once.
  static Bunch* of_this_thread();

  // From here on this thread collects, up to `end`. One may be inside another; the outermost counts.
  static void begin();
  static void end();

  // Whether what this thread has collected has waited for long; then send it, and collect on.
  static bool is_late();
  static void send_now();

  // Keep the last message of a call. Sends all, if the first of them has waited for long.
  void add(std::shared_ptr<Call> call, Message message, int code, const std::string& details);

 private:
  struct Answer {
    std::shared_ptr<Call> call;
    Message message;
    int code;
    std::string details;
  };

  void send();
  void send_each(bool with_others);

  std::vector<Answer> answers_;
  std::chrono::steady_clock::time_point since_;
  int depth_ = 0;
};

}  // namespace appliance
