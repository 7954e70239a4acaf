// RAII for gRPC's slices and messages.
#pragma once

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace appliance {

// A piece of memory that gRPC counts the users of.
class Slice {
 public:
  Slice() : slice_(grpc_empty_slice()) {}
  explicit Slice(grpc_slice slice) : slice_(slice) {}  // takes the caller's reference
  Slice(Slice&& other) noexcept : slice_(std::exchange(other.slice_, grpc_empty_slice())) {}
  Slice& operator=(Slice&& other) noexcept {
    std::swap(slice_, other.slice_);
    return *this;
  }
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;
  ~Slice() { grpc_slice_unref(slice_); }

  // A slice may hold few bytes in itself: valid as long as it is not moved.
  const uint8_t* data() const { return GRPC_SLICE_START_PTR(slice_); }
  size_t size() const { return GRPC_SLICE_LENGTH(slice_); }
  grpc_slice& get() { return slice_; }

 private:
  grpc_slice slice_;
};

// A message as gRPC has it: any number of slices.
class Message {
 public:
  Message() = default;
  explicit Message(grpc_byte_buffer* buffer) : buffer_(buffer) {}  // takes it
  Message(Message&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  Message& operator=(Message&& other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() { reset(); }

  explicit operator bool() const { return buffer_ != nullptr; }
  grpc_byte_buffer* get() const { return buffer_; }
  grpc_byte_buffer** to_fill() {
    reset();
    return &buffer_;
  }
  void reset() {
    if (buffer_ != nullptr) {
      grpc_byte_buffer_destroy(std::exchange(buffer_, nullptr));
    }
  }

 private:
  grpc_byte_buffer* buffer_ = nullptr;
};

inline std::string_view text_of(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

}  // namespace appliance
