// SPDX-License-Identifier: Apache-2.0
//
// The names of servers that the configuration has: each is resolved, published in the shared server table, and asked for again
// when its TTL is over (at least 1 s, at most 5 min). A name that stops resolving keeps its last addresses and is asked for again
// after 1 s, 2 s, 4 s … 30 s. Caretaker process; owned by it.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/caretaker/resolver.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ladle::worker {

class NameBook {
public:
    NameBook(loop::Loop& loop, shm::Regions& regions);

    Result<void> init() { return resolver_.init(); }
    /// Takes in the names of `config`, besides those there are, and its DNS servers.
    void add(const config::Config& config);
    /// Forgets the names that `config` does not have, and asks its DNS servers.
    void keep_only(const config::Config& config);
    /// Whether every name has been answered once, well or not.
    bool is_settled() const;
    /// Every 100 ms: asks for what is due.
    void on_tick();

private:
    struct Use {
        std::uint32_t entry;
        std::uint16_t port;
    };
    struct Name {
        std::vector<Use> uses;
        std::vector<shm::ServerAddress> addresses; ///< last good ones, port 0
        bool is_asking = false;
        bool is_answered = false;
        bool is_unpublished = false; ///< the table was being written: try again
        bool has_failed = false;     ///< and was told so in the log
        unsigned failures = 0;       ///< in a row
        loop::Nanos next = 0;
    };

    static void on_resolved(void* self, Resolution resolution);
    void accept(const std::string& host, Name& name, Resolution resolution);
    void publish(Name& name);
    void follow_resolvers(const config::Config& config);
    std::map<std::string, std::vector<Use>> uses_of(const config::Config& config) const;

    shm::Regions& regions_;
    Resolver resolver_;
    std::map<std::string, Name> names_;
    unsigned ticks_ = 0;
};

} // namespace ladle::worker
