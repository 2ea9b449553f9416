// SPDX-License-Identifier: Apache-2.0
//
// Names to addresses, and services to their SRV records, without blocking: c-ares on the caretaker's loop. A and AAAA, /etc/hosts
// before DNS; SRV of DNS alone, over TCP where the answer is large. The DNS servers of the configuration are asked, or else those
// of /etc/resolv.conf, which is read again when it changes. Other DNS servers are first prepared, which
// may fail, then asked from commit() on, which cannot. One question at a time and name is the caller's business. Only the
// caretaker uses it: workers do no DNS.
#pragma once

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "common/shm/server_table.h"
#include "worker/caretaker/service_records.h"

#include <chrono>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct ares_channeldata;

namespace ladle::worker {

/// What is asked for.
struct Sought {
    enum class Kind : std::uint8_t { addresses, services } kind;
    std::string name;

    auto operator<=>(const Sought&) const = default;
};

/// As servers are written in the configuration: "app.internal", "srv:_http._tcp.app.internal".
std::string to_text(const Sought& sought);

/// What came of a question.
struct Resolution {
    Sought sought;
    std::string failure;                       ///< empty = good; else why, for people
    std::vector<shm::ServerAddress> addresses; ///< where addresses were sought; of port 0
    ServiceAnswer services{};                  ///< where services were
    std::chrono::seconds ttl{0};               ///< the shortest of all records
};

class Resolver {
public:
    using OnResolved = void (*)(void* self, Resolution resolution);

    Resolver(loop::Loop& loop, OnResolved on_resolved, void* self);
    ~Resolver();
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;

    /// Reads the system's configuration. `servers` are the DNS servers, "192.0.2.1:53", "[::1]:53"; none = those of resolv.conf.
    Result<void> init(const std::vector<std::string>& servers);
    /// Makes ready to ask other DNS servers; those in force go on. Nothing to do where they are the same.
    Result<void> prepare(const std::vector<std::string>& servers);
    /// Whether other DNS servers are ready: every name is to be asked again once they are in force.
    bool is_prepared() const { return next_ != nullptr; }
    /// From now on those prepared are asked, and what others still answer is dropped.
    void commit();
    /// Forgets those prepared.
    void abort() { next_.reset(); }
    /// Asks; the answer comes by on_resolved, perhaps before this returns.
    void ask(const Sought& sought);
    /// Looks whether resolv.conf has changed. Call now and then.
    void refresh_servers();

private:
    struct Socket;
    struct Question;
    struct Channel;
    Result<std::shared_ptr<Channel>> make_channel(const std::string& servers);
    void take(std::shared_ptr<Channel> channel);
    static void on_socket_state(void* self, int fd, int readable, int writable);
    void process_all();

    loop::Loop& loop_;
    OnResolved on_resolved_;
    void* self_;
    std::shared_ptr<Channel> channel_;             ///< in force
    std::shared_ptr<Channel> next_;                ///< prepared; null = none
    std::vector<std::shared_ptr<Channel>> former_; ///< with the servers before; kept until their questions are answered
    loop::Timer pulse_;                            ///< timeouts, and what an edge may have missed
};

} // namespace ladle::worker
