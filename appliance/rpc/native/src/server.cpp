#include "server.h"

#include <grpc/grpc_security.h>
#if __has_include(<grpc/credentials.h>)  // where gRPC has it since 1.55
#include <grpc/credentials.h>
#endif

#include "call.h"

namespace appliance {

namespace {

// Per method and completion queue: calls that can come at once before one of them is looked at.
constexpr int kWaitingCalls = 8;

grpc_server* create(const std::vector<std::pair<std::string, int>>& arguments, size_t memory_bytes) {
  std::vector<grpc_arg> all;
  all.reserve(arguments.size() + 1);
  for (const auto& [name, value] : arguments) {
    grpc_arg argument;
    argument.type = GRPC_ARG_INTEGER;
    argument.key = const_cast<char*>(name.c_str());
    argument.value.integer = value;
    all.push_back(argument);
  }
  grpc_resource_quota* quota = grpc_resource_quota_create("appliance");
  grpc_resource_quota_resize(quota, memory_bytes);
  grpc_arg limit;
  limit.type = GRPC_ARG_POINTER;
  limit.key = const_cast<char*>(GRPC_ARG_RESOURCE_QUOTA);
  limit.value.pointer.p = quota;
  limit.value.pointer.vtable = grpc_resource_quota_arg_vtable();
  all.push_back(limit);
  const grpc_channel_args list{all.size(), all.data()};
  grpc_server* server = grpc_server_create(&list, nullptr);
  grpc_resource_quota_unref(quota);
  return server;
}

grpc_server_credentials* credentials_of(const Tls& tls) {
  const bool mutual = !tls.client_authorities.empty();
  grpc_ssl_pem_key_cert_pair pair{tls.key.c_str(), tls.certificate_chain.c_str()};
  return grpc_ssl_server_credentials_create_ex(
      mutual ? tls.client_authorities.c_str() : nullptr, &pair, 1,
      mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
      nullptr);
}

}  // namespace

Server::Server(std::shared_ptr<Io> io, const std::vector<std::pair<std::string, int>>& arguments, int max_calls,
               size_t memory_bytes)
    : io_(std::move(io)), max_calls_(max_calls), server_(create(arguments, memory_bytes)) {
  for (grpc_completion_queue* queue : io_->queues()) {
    grpc_server_register_completion_queue(server_, queue, nullptr);
  }
  methods_.push_back(std::make_unique<Method>(Method{nullptr, -1, false}));
}

Server::~Server() { grpc_server_destroy(server_); }

void Server::add_method(const std::string& path, int number, bool reads_itself) {
  const auto handling = reads_itself ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER;
  void* registered = grpc_server_register_method(server_, path.c_str(), nullptr, handling, 0);
  methods_.push_back(std::make_unique<Method>(Method{registered, number, reads_itself}));
}

int Server::bind(const std::string& address, const Tls& tls) {
  grpc_server_credentials* credentials =
      tls.certificate_chain.empty() ? grpc_insecure_server_credentials_create() : credentials_of(tls);
  const int port = grpc_server_add_http2_port(server_, address.c_str(), credentials);
  grpc_server_credentials_release(credentials);
  return port;
}

void Server::start() {
  grpc_server_start(server_);
  for (grpc_completion_queue* queue : io_->queues()) {
    for (const auto& method : methods_) {
      for (int i = 0; i < kWaitingCalls; ++i) {
        wait_for_call(queue, method.get());
      }
    }
  }
}

void Server::stop() {
  if (!stopping_.exchange(true)) {
    grpc_completion_queue* queue = io_->queues().front();
    io_->operate([&] { grpc_server_shutdown_and_notify(server_, queue, stopped_.begin(this)); });
  }
}

void Server::cancel_calls() { grpc_server_cancel_all_calls(server_); }

void Server::wait_for_call(grpc_completion_queue* queue, const Method* method) {
  if (!stopping_.load()) {
    io_->operate([&] { std::make_shared<Call>(shared_from_this(), queue, method)->wait(); });
  }
}

void Server::Stopped::complete(bool) {
  const auto server = std::move(server_);
  server->io().inbox().put(Event{kStopped, nullptr, server, Slice()});
}

}  // namespace appliance
