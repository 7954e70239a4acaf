// What moves between gRPC's slices and Python's buffers.
#pragma once

#include <Python.h>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "slice.h"

namespace appliance {

// Python objects whose bytes gRPC has sent, or dropped. gRPC lets go of them on its own threads, which never hold the
// interpreter's lock; so they wait here until a thread that holds it comes by.
class SentBuffers {
 public:
  // wake: called when something begins to wait; by any thread.
  explicit SentBuffers(std::function<void()> wake) : wake_(std::move(wake)) {}

  // Called without the interpreter's lock.
  void put(Py_buffer* buffer);

  // Called with the interpreter's lock.
  void release();

 private:
  const std::function<void()> wake_;
  std::mutex mutex_;
  std::vector<Py_buffer*> buffers_;
};

// One message of the wire from the parts of a response: small parts are copied together, large ones stay where they
// are and are kept alive until sent.
//
// Called with the interpreter's lock. Throws nanobind::python_error if a part is not a contiguous buffer; then nothing
// is kept.
Message message_of_parts(PyObject* parts, const std::shared_ptr<SentBuffers>& sent);

// The bytes of a received message in one piece: where they are if gRPC has them so, else copied once.
Slice contiguous(const Message& message);

}  // namespace appliance
