// SPDX-License-Identifier: Apache-2.0
//
// The servers whose upstreams have `health`: each is asked every interval (give or take a tenth, so that many are not asked at
// once), and what comes of it is published in the shared server table, where workers see it with their next choice. A named server
// is asked at all its addresses: it is up while one of them is, and the others are not connected to. State is the entry's and the
// check's: it outlives reloads that leave the check as it is, and this process. Caretaker process; owned by it.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/caretaker/checked_servers.h"

#include <cstddef>
#include <memory>
#include <vector>

namespace ladle::worker {

class HealthBook {
public:
    static constexpr std::size_t kMostProbes = 256; ///< at once; servers that are due wait for the others

    HealthBook(loop::Loop& loop, shm::Regions& regions, shm::ProcessRow& row);
    ~HealthBook();

    /// From now on these servers are asked. Questions that are under way are finished where the check is the same.
    void follow(std::shared_ptr<const config::Config> config);
    /// Every 100 ms: takes in what has come, asks who is due.
    void on_tick();

private:
    struct Round;
    struct Address;
    struct Subject;

    void begin_round(Subject& subject, loop::Nanos now);
    void finish_round(Subject& subject, loop::Nanos now);
    void publish_addresses(Subject& subject);

    loop::Loop& loop_;
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    std::shared_ptr<CheckSource> source_;
    std::vector<std::unique_ptr<Subject>> subjects_;
    std::size_t probes_ = 0; ///< under way
    std::size_t first_ = 0;  ///< who is looked at first, so that each gets its turn
    CheckClock clock_;
};

} // namespace ladle::worker
