// A gRPC server: its addresses, its methods, and the calls that wait for a client.
#pragma once

#include <grpc/grpc.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io.h"

namespace appliance {

// In PEM; all empty for a listener without TLS.
struct Tls {
  std::string certificate_chain;
  std::string key;
  std::string client_authorities;
};

struct Method {
  void* registered;   // nullptr: whatever is not registered, and therefore not implemented
  int number;         // by which Python knows it
  bool reads_itself;  // a stream of requests: Python asks for each; else the one request comes with the call
};

class Server : public std::enable_shared_from_this<Server> {
 public:
  // arguments: gRPC's channel arguments. max_calls: calls beyond that are refused. memory_bytes: what its connections
  // may hold together; gRPC then ends some of their calls.
  Server(std::shared_ptr<Io> io, const std::vector<std::pair<std::string, int>>& arguments, int max_calls,
         size_t memory_bytes);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // Serve a method; before `start`. path: `/package.Service/Method`. number: not negative.
  void add_method(const std::string& path, int number, bool reads_itself);

  // Listen at an address; before `start`. Returns the port (1 for a Unix socket), 0 if it cannot be bound. With a
  // certificate over TLS; with authorities, clients must show a certificate of theirs.
  int bind(const std::string& address, const Tls& tls);

  void start();

  // Take no new calls and tell the clients so; an event kStopped follows when the calls in flight have ended.
  void stop();

  // Cancel the calls in flight, after `stop`.
  void cancel_calls();

  // Wait for one more call of a method, unless the server stops.
  void wait_for_call(grpc_completion_queue* queue, const Method* method);

  // Count a call among those in flight until it leaves; false, and it does not count, if they are as many as there may be.
  bool enter() {
    if (calls_.fetch_add(1, std::memory_order_relaxed) < max_calls_) {
      return true;
    }
    leave();
    return false;
  }
  void leave() { calls_.fetch_sub(1, std::memory_order_relaxed); }

  grpc_server* get() const { return server_; }
  Io& io() const { return *io_; }

 private:
  // The end of `stop`; keeps the server alive until then.
  class Stopped final : public Completion {
   public:
    void* begin(Server* server) {
      server_ = server->shared_from_this();
      return static_cast<Completion*>(this);
    }
    void complete(bool) override;

   private:
    std::shared_ptr<Server> server_;
  };

  const std::shared_ptr<Io> io_;
  const int max_calls_;
  grpc_server* const server_;
  std::vector<std::unique_ptr<Method>> methods_;
  std::atomic<int> calls_ = 0;
  std::atomic<bool> stopping_ = false;
  Stopped stopped_;
};

}  // namespace appliance
