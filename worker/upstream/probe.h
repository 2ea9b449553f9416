// SPDX-License-Identifier: Apache-2.0
//
// Probe: one health check of one address of a server: connects, over TLS and with a PROXY header where requests would, asks over
// the protocol that its upstream speaks, and judges the answer. Or one question to its agent: the same over HTTP, or a line over
// plain TCP, which is no matter of the upstream's protocol. One task with one time limit; at most kMostBody of an answer is looked
// at. Caretaker process; destroying it ends it. Borrows the upstream's and the server's configuration and the connector.
#pragma once

#include "common/config/config.h"
#include "common/loop/task.h"
#include "common/shm/server_health.h"
#include "worker/net/alarm.h"
#include "worker/tls/connector.h"
#include "worker/upstream/server_set.h"

#include <sys/socket.h>

#include <memory>
#include <string>

namespace ladle::worker {

class Probe {
public:
    static constexpr std::size_t kMostBody = 64 << 10;

    /// Whom to ask what; `check` is the upstream's `health` or `agent`.
    struct Subject {
        const config::Upstream& upstream;
        const config::UpstreamServer& server;
        const config::HealthCheck& check;
        sockaddr_storage address;
        socklen_t length;
    };

    Probe(loop::Loop& loop, shm::ProcessRow& row, TlsConnector& connector, const Subject& subject);
    ~Probe();
    Probe(const Probe&) = delete;
    Probe& operator=(const Probe&) = delete;

    /// Runs until its first wait, or its end.
    void start();
    bool is_done() const noexcept { return is_over_; }
    /// How it ended; `none`: it says nothing about the server, as this process lacked what it takes to ask.
    shm::CheckEnd end() const noexcept { return end_; }
    /// What was wrong, for people.
    const std::string& detail() const noexcept { return detail_; }
    /// The line, or the body of a good answer over HTTP.
    const std::string& text() const noexcept { return text_; }

private:
    enum class Ended : std::uint8_t { no, yes };

    loop::Task<void> run();
    loop::Task<Ended> connect(ServerConnection& connection);
    loop::Task<Ended> shake_hands(Socket& socket);
    loop::Task<Ended> begin_h2(std::unique_ptr<ServerConnection> connection);
    loop::Task<Ended> receive_head(http::ResponseHead& head);
    loop::Task<Ended> receive_body(BodyReader& body, std::string& text);
    loop::Task<void> exchange_lines(ServerConnection& connection);
    void write_request();
    void write_grpc_request();
    std::string host() const;
    void judge(const http::ResponseHead& head, std::string body);
    void judge_grpc(const http::ResponseHead& head, const BodyReader& reader, const std::string& body);
    Ended finish(shm::CheckEnd end, std::string detail);
    Ended finish_late(const char* doing);

    loop::Loop& loop_;
    TlsConnector& connector_;
    const Subject subject_;
    const config::HealthCheck& check_;
    loop::Wake wake_;
    Alarm alarm_;
    Server server_;                        ///< has its HTTP/2 connection
    std::unique_ptr<ServerStream> stream_; ///< the question's
    bool is_over_ = false;
    shm::CheckEnd end_ = shm::CheckEnd::none;
    std::string detail_;
    std::string text_;
    loop::Task<void> main_; ///< last: its frame uses all of the above
};

/// The serving status of a grpc.health.v1.HealthCheckResponse, in a message with gRPC's prefix; -1 where it is none.
int parse_grpc_health(std::string_view message) noexcept;

} // namespace ladle::worker
