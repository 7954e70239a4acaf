// Operations of several calls begun together: gRPC's core then does what they ask for once for each connection, so that
// one write carries the answers of all of its calls.
//
// Its public functions do that for each operation before they return. What they are made of does not, and is used where
// the core is one of our own, of a version that we know. Over the system's gRPC operations are begun one by one.
#pragma once

#include <grpc/grpc.h>

#include <functional>

namespace appliance {

// Whether the core is one that can.
bool can_begin_together();

// Run `begin`, and then what the operations ask for that it has begun by `start_together`.
void together(const std::function<void()>& begin);

// As grpc_call_start_batch; within `together` only.
grpc_call_error start_together(grpc_call* call, const grpc_op* operations, size_t count, void* tag);

}  // namespace appliance
