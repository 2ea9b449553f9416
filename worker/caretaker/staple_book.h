// SPDX-License-Identifier: Apache-2.0
//
// OCSP stapling: for each certificate whose CA has a responder, its answer is fetched, verified, and published in shared memory
// (common/shm/staples.h) for the workers to show. Asked again when half of its time is over; after a failure in 5 s, 10 s … 1 h,
// while the answer before is shown until its time is over. A certificate that is said to be revoked is shown without. Caretaker
// process; owned by it. A few questions at once, each with a limit of time and size.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "worker/caretaker/resolver.h"
#include "worker/tls/ocsp.h"

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace ladle::worker {

class StapleBook {
public:
    StapleBook(loop::Loop& loop, shm::Regions& regions, shm::ProcessRow& row);

    /// `config` is in force: its certificates are looked through, some in each tick; those of others are forgotten.
    Result<void> follow(std::shared_ptr<const config::Config> config);
    /// Every 100 ms.
    void on_tick();

private:
    struct Subject {
        const config::Certificate* certificate = nullptr; ///< of config_
        std::uint64_t next_s = 0; ///< CLOCK_REALTIME: certificates and answers count in it
        unsigned failures = 0;    ///< in a row
        bool is_asking = false;
    };
    struct Question {
        shm::StapleKey key{};
        OcspSubject subject;
        loop::Nanos limit = 0;
        std::vector<shm::ServerAddress> addresses; ///< not yet tried; the last one is next
        std::unique_ptr<OcspExchange> exchange; ///< null = the name is being resolved
        std::unique_ptr<loop::Watch> watch;     ///< goes before the exchange, which closes the descriptor
        bool has_news = false;
    };

    static void on_resolved(void* self, Resolution resolution);
    void look_through_some();
    void finish_looking();
    void ask_what_is_due();
    void ask(const shm::StapleKey& key, Subject& subject);
    void advance(Question& question);
    bool connect_next(Question& question);
    void judge(Question& question);
    void fail(Question& question, const std::string& why);
    void put_off(Subject& subject, std::uint64_t seconds);

    loop::Loop& loop_;
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    Resolver resolver_;
    bool has_resolver_ = false;
    std::shared_ptr<const config::Config> config_;
    std::map<shm::StapleKey, Subject> subjects_;
    std::map<shm::StapleKey, const config::Certificate*> found_; ///< while config_ is looked through
    std::vector<const config::Certificate*> to_look_at_;         ///< the rest of config_'s
    bool is_looking_ = false;
    std::vector<std::unique_ptr<Question>> questions_;
    std::set<std::string> silent_; ///< hosts of responders that have failed, and whose failure was told
};

} // namespace ladle::worker
