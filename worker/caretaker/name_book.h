// SPDX-License-Identifier: Apache-2.0
//
// The names of servers that the configuration has: each is resolved, published in the shared server table, and asked for again
// when its TTL is over (at least 1 s, at most 5 min). A name that stops resolving keeps its last addresses and is asked for again
// after 1 s, 2 s, 4 s … 30 s. The hosts that a service's SRV records point to are names of their own, each with its own TTL: the
// service's addresses are put together anew whenever one of them, or the records, were answered, and published once all that count
// were. Caretaker process; owned by it.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/caretaker/resolver.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::worker {

class NameBook {
public:
    NameBook(loop::Loop& loop, shm::Regions& regions);

    /// Before the first question: the DNS servers of `config`.
    Result<void> init(const config::Config& config) { return resolver_.init(config.server.resolvers); }
    /// Takes in the names of `config`, besides those there are.
    void add(const config::Config& config);
    /// Makes ready for `config`: its names are taken in, or wait for commit() where it has other DNS servers. Fails where those
    /// cannot be used; nothing has changed then.
    Result<void> prepare(const config::Config& config);
    /// `config` is in force: other names are forgotten and its DNS servers asked. True if those are others than before, so that
    /// every name is asked again.
    bool commit(const config::Config& config);
    /// What was prepared is not to be: `config` stays in force.
    void abort(const config::Config& config);
    /// Whether every name has been answered once, well or not.
    bool is_settled() const;
    /// Every 100 ms: asks for what is due.
    void on_tick();

private:
    struct Use {
        std::uint32_t entry;
        std::uint16_t port; ///< 0 = each address has its own
    };
    struct Name {
        std::vector<Use> uses;                     ///< none = a target of services
        std::vector<shm::ServerAddress> addresses; ///< last good ones; of port 0, of a service with ports and weights
        std::vector<ServiceRecord> records;        ///< of a service: the last good ones
        std::string failure;                       ///< of the last question; empty = none
        bool is_asking = false;
        bool is_answered = false;
        bool is_partial = false;     ///< addresses of a service: some of its targets were not answered yet
        bool is_unpublished = false; ///< the table was being written: try again
        bool has_failed = false;     ///< there is no good answer, and the log was told
        std::size_t excess = 0;      ///< addresses that are not used, as the log was told
        std::size_t left_out = 0;    ///< SRV records that are not used, likewise
        unsigned failures = 0;       ///< in a row
        loop::Nanos next = 0;
    };

    static void on_resolved(void* self, Resolution resolution);
    void accept(const Sought& sought, Name& name, Resolution resolution);
    void accept_records(const Sought& sought, Name& service, ServiceAnswer answer);
    void combine(const Sought& sought, Name& service);
    void settle(const Sought& sought, Name& name, std::string_view failure);
    void publish(Name& name);
    void ask_due();
    void keep_only(const config::Config& config);
    void forget_targets();
    std::map<Sought, std::vector<Use>> uses_of(const config::Config& config) const;

    shm::Regions& regions_;
    Resolver resolver_;
    std::map<Sought, Name> names_;
    unsigned ticks_ = 0;
};

} // namespace ladle::worker
