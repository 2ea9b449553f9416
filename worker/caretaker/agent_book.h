// SPDX-License-Identifier: Apache-2.0
//
// The servers whose upstreams have `agent`: the agent of each is asked every interval, and what it says (agent_reply.h) is
// published in the shared server table, where workers see it with their next choice. No answer, or one that is not understood,
// changes nothing: what the agent has said holds until it says otherwise. A named server is asked at one of its addresses, the same
// one while that is there and works. State is the entry's and the question's: it outlives reloads that leave the question as it is,
// and this process. Caretaker process; owned by it.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/caretaker/checked_servers.h"

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace ladle::worker {

class AgentBook {
public:
    static constexpr std::size_t kMostQuestions = 256; ///< at once; agents that are due wait for the others

    AgentBook(loop::Loop& loop, shm::Regions& regions, shm::ProcessRow& row);
    ~AgentBook();

    /// From now on these agents are asked. Questions that are under way are finished where they are the same.
    void follow(std::shared_ptr<const config::Config> config);
    /// Every 100 ms: takes in what has come, asks who is due.
    void on_tick();

private:
    struct Subject;

    void ask(Subject& subject, loop::Nanos now);
    void take_answer(Subject& subject, loop::Nanos now);
    void fail(Subject& subject, shm::CheckEnd end, std::string_view why, loop::Nanos now);

    loop::Loop& loop_;
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    std::shared_ptr<CheckSource> source_;
    std::vector<std::unique_ptr<Subject>> subjects_;
    std::size_t questions_ = 0; ///< under way
    std::size_t first_ = 0;     ///< who is looked at first, so that each gets its turn
    CheckClock clock_;
};

} // namespace ladle::worker
