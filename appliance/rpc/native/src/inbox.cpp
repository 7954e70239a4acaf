#include "inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "call.h"
#include "server.h"

namespace appliance {

Inbox::Inbox() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ < 0) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
}

Inbox::~Inbox() { close(descriptor_); }

void Inbox::put(Event event) {
  {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    if (std::exchange(awake_, true)) {
      return;
    }
  }
  make_readable();
}

void Inbox::wake() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(awake_, true)) {
      return;
    }
  }
  make_readable();
}

void Inbox::make_readable() {
  const uint64_t one = 1;
  // It fails only if the counter is full, and then the loop is awake anyway.
  [[maybe_unused]] const ssize_t written = write(descriptor_, &one, sizeof one);
}

std::vector<Event> Inbox::take() {
  std::vector<Event> events;
  std::lock_guard lock(mutex_);
  events.swap(events_);
  if (events.empty()) {
    uint64_t count;
    [[maybe_unused]] const ssize_t got = read(descriptor_, &count, sizeof count);
    awake_ = false;  // what is put from here on wakes the loop again
  }
  return events;
}

}  // namespace appliance
