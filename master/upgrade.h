// SPDX-License-Identifier: Apache-2.0
//
// An upgrade: this process executes the binary that now lies at its path, keeping its PID, its sockets, its children and the shared
// arena, then replaces its children one generation for the other. No connection is closed and none is refused.
//
//   old image: write the handover ─► child runs `NEW check-handover` on it ─► good: exec NEW `run --handover FD`
//   new image: adopt ─► start new children ─► all ready: drain the old ones ─► answer
//                                           └► one fails: kill the new ones, keep the old ones, answer with the reason
//
// The new image runs the running configuration (its bundle), not the file: an upgrade changes the program and nothing else.
#pragma once

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "master/control/server.h"
#include "master/handover.h"

#include <sys/types.h>

#include <functional>
#include <string>

namespace ladle::master {

class Upgrade {
public:
    struct Outcome {
        bool is_done = false;
        std::string message;
    };
    using Done = std::function<void(const Outcome&)>;

    Upgrade(loop::Loop& loop, std::string binary_path, std::string config_path);

    /// Old image: checks whether the new binary can take over, then becomes it; `done` is called only if it does not.
    /// `make_state` writes down everything, right before.
    using MakeState = std::function<Handover()>;
    void begin(MakeState make_state, Done done);
    /// New image, after everything was adopted and the new children were started: `done` is called when it is decided.
    void continue_after_exec(Done done);

    bool is_running() const { return phase_ != Phase::none; }

    /// The checking child ended.
    void on_stranger(pid_t pid, int status);
    /// New image: all new children are ready, or one failed.
    void on_complete();
    void on_failure(const std::string& why);

private:
    enum class Phase : std::uint8_t { none, checking, replacing };
    void finish(bool is_done, std::string message);
    void execute();
    std::string check_output() const;

    loop::Loop& loop_;
    std::string binary_path_;
    std::string config_path_;
    Phase phase_ = Phase::none;
    MakeState make_state_;
    Done done_;
    pid_t checking_ = 0;
    os::Fd output_; ///< what the check says, as a memfd
    loop::Timer limit_;
};

} // namespace ladle::master
