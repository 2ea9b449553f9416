// SPDX-License-Identifier: Apache-2.0
//
// Role: what every child of the master does alike, so that a role's own file holds only what is its own. Enters the process
// (privileges, log, loop, signals), loads the configuration it was born with, speaks with the master, and leaves. Runs in the
// children; live_as() makes the one Role of a process, which owns the loop and all that hangs on it.
// Invariant: once run() has returned, nothing watches the loop any more, whether the start succeeded or not.
#pragma once

#include "common/config/config.h"
#include "common/ipc/inheritance.h"
#include "common/ipc/messages.h"
#include "common/loop/loop.h"

#include <memory>
#include <string>
#include <utility>

namespace ladle::worker {

class Role {
public:
    /// `name` for the log of a start that failed: "the worker".
    Role(ipc::Inheritance inheritance, const char* name);
    virtual ~Role() = default;
    Role(const Role&) = delete;
    Role& operator=(const Role&) = delete;

    /// Lives until the loop is stopped; the exit status.
    int run();

protected:
    /// Makes what the role works with; config_ and loop_ are there, the master is not heard yet.
    virtual Result<void> init() = 0;
    /// The master is heard and ticks come (each 100 ms): serve, and say so.
    virtual void begin() = 0;
    virtual void on_message(ipc::Message message) = 0;
    virtual void on_tick() = 0;
    /// SIGTERM, from the master's death or by hand.
    virtual void on_terminate() = 0;
    /// The channel's end; it is not watched any more.
    virtual void on_master_gone() = 0;
    /// Gives up what hangs on the loop; also after an init() that failed, or was not reached.
    virtual void close() = 0;

    void stop() { loop_->stop(); }
    void tell(ipc::MessageType type, std::uint64_t generation, std::string text = {}, std::uint64_t number = 0);
    /// The bundle of a prepare_config; null = it is not good, and the master has been told.
    std::shared_ptr<const config::Config> load_prepared(const ipc::Message& message);
    /// Makes it the one in force in this process: generation in the row, level of the log.
    void adopt(std::shared_ptr<const config::Config> config);

    ipc::Inheritance inherited_;
    shm::ProcessRow& row_;
    std::unique_ptr<loop::Loop> loop_;
    std::shared_ptr<const config::Config> config_;
    std::shared_ptr<const config::Config> prepared_; ///< not yet committed

private:
    Result<void> enter();
    void let_go();
    Result<void> watch_signals();
    Result<void> load_configuration();
    Result<void> listen_to_master();
    static void on_channel(void* self, loop::Ready);

    const char* name_;
    loop::Watch channel_;
    loop::Signal terminate_;
};

/// Before the role is made: title and log of the process.
void enter_role(const ipc::Inheritance& inheritance, const std::string& title, const std::string& log_origin);
/// Ends the process without the master's atexit work. The last lines of the log get 200 ms.
[[noreturn]] void leave_role(int status);

/// The whole life of a child.
template <typename OwnRole>
[[noreturn]] void live_as(ipc::Inheritance inheritance, const std::string& title, const std::string& log_origin)
{
    enter_role(inheritance, title, log_origin);
    int status = 0;
    {
        OwnRole role(std::move(inheritance));
        status = role.run();
    }
    leave_role(status);
}

} // namespace ladle::worker
