#include "payload.h"

#include <nanobind/nanobind.h>

#include <cstring>

namespace nb = nanobind;

namespace appliance {

namespace {

// Up to here copying costs less than keeping an object alive across threads.
constexpr Py_ssize_t kLongestCopy = 16 * 1024;

// A Python buffer that gRPC reads from.
struct Kept {
  Py_buffer buffer;
  std::shared_ptr<SentBuffers> sent;
};

void let_go(void* pointer) {
  auto* kept = static_cast<Kept*>(pointer);
  kept->sent->put(new Py_buffer(kept->buffer));
  delete kept;
}

// Views of all parts, given back unless they are taken.
class Views {
 public:
  explicit Views(PyObject* parts) : sequence_(nb::steal(PySequence_Fast(parts, "parts must be a sequence"))) {
    if (!sequence_.is_valid()) {
      throw nb::python_error();
    }
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence_.ptr());
    views_.reserve(static_cast<size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      Py_buffer view;
      if (PyObject_GetBuffer(PySequence_Fast_GET_ITEM(sequence_.ptr(), i), &view, PyBUF_SIMPLE) != 0) {
        release();  // a constructor that throws has no destructor
        throw nb::python_error();
      }
      views_.push_back(view);
    }
  }
  Views(const Views&) = delete;
  Views& operator=(const Views&) = delete;
  ~Views() { release(); }

  std::vector<Py_buffer>& all() { return views_; }

 private:
  void release() {
    for (Py_buffer& view : views_) {
      PyBuffer_Release(&view);  // nothing if it was taken: its obj is null
    }
    views_.clear();
  }

  nb::object sequence_;
  std::vector<Py_buffer> views_;
};

}  // namespace

void SentBuffers::put(Py_buffer* buffer) {
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = buffers_.empty();
    buffers_.push_back(buffer);
  }
  if (first) {
    wake_();
  }
}

void SentBuffers::release() {
  std::vector<Py_buffer*> buffers;
  {
    std::lock_guard lock(mutex_);
    buffers.swap(buffers_);
  }
  for (Py_buffer* buffer : buffers) {
    PyBuffer_Release(buffer);
    delete buffer;
  }
}

Message message_of_parts(PyObject* parts, const std::shared_ptr<SentBuffers>& sent) {
  Views views(parts);
  Message message(grpc_raw_byte_buffer_create(nullptr, 0));
  grpc_slice_buffer* slices = &message.get()->data.raw.slice_buffer;
  auto& all = views.all();
  for (size_t next = 0; next < all.size();) {
    if (all[next].len > kLongestCopy) {
      auto* kept = new Kept{all[next], sent};
      all[next].obj = nullptr;  // taken
      const auto size = static_cast<size_t>(kept->buffer.len);
      grpc_slice_buffer_add(slices, grpc_slice_new_with_user_data(kept->buffer.buf, size, let_go, kept));
      ++next;
      continue;
    }
    size_t end = next;
    size_t size = 0;
    for (; end < all.size() && all[end].len <= kLongestCopy; ++end) {
      size += static_cast<size_t>(all[end].len);
    }
    grpc_slice joined = grpc_slice_malloc(size);
    uint8_t* to = GRPC_SLICE_START_PTR(joined);
    for (; next < end; ++next) {
      std::memcpy(to, all[next].buf, static_cast<size_t>(all[next].len));
      to += all[next].len;
    }
    grpc_slice_buffer_add(slices, joined);
  }
  return message;
}

Slice contiguous(const Message& message) {
  const grpc_slice_buffer& slices = message.get()->data.raw.slice_buffer;
  if (slices.count == 1) {
    return Slice(grpc_slice_ref(slices.slices[0]));
  }
  grpc_byte_buffer_reader reader;
  grpc_byte_buffer_reader_init(&reader, message.get());  // cannot fail: gRPC has decompressed what it hands over
  Slice bytes(grpc_byte_buffer_reader_readall(&reader));
  grpc_byte_buffer_reader_destroy(&reader);
  return bytes;
}

}  // namespace appliance
