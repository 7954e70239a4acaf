// What the I/O threads have for Python: one eventfd wakes the event loop, which then takes until there is nothing left.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "slice.h"

namespace appliance {

class Call;
class Server;

// Kinds of events; a call that begins is told by the number of its method, which is not negative.
enum EventKind : int {
  kCancelled = -1,  // nobody waits for the answer any more
  kMessage = -2,    // the message that was asked for with `read`
  kNoMessage = -3,  // the client has sent its last message
  kWritten = -4,    // what was given to `write` is on its way; the next may follow
  kStopped = -5,    // a server has no more calls
};

struct Event {
  int kind;
  std::shared_ptr<Call> call;  // none if it is about a server
  std::shared_ptr<Server> server;
  Slice payload;
};

class Inbox {
 public:
  Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  ~Inbox();

  // Called by any thread.
  void put(Event event);

  // Have the event loop take, though there is no event. Called by any thread.
  void wake();

  // Everything that has come, in order. Called by the event loop when `descriptor` is readable, again and again until
  // there is nothing: until then nobody wakes it.
  std::vector<Event> take();

  int descriptor() const { return descriptor_; }

 private:
  void make_readable();

  int descriptor_;
  std::mutex mutex_;
  std::vector<Event> events_;
  bool awake_ = false;  // the loop takes, or `descriptor` is readable, or whoever has said so is about to make it so
};

}  // namespace appliance
