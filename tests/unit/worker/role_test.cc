// SPDX-License-Identifier: Apache-2.0
//
// A role whose start fails lets go of the loop like one that has served. In a child: run() changes the process for good.
#include "worker/role.h"

#include "common/config/bundle.h"
#include "common/os/log.h"
#include "common/os/memory_file.h"
#include "common/os/socket.h"
#include "common/shm/arena.h"

#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <utility>

using namespace ladle;

namespace {

constexpr const char* kConfig = "[log]\naccess = \"off\"\n[site.\"a.test\"]\nupstream = \"http://127.0.0.1:1\"\n";

/// Watches a descriptor, and then cannot start.
class Failing final : public worker::Role {
public:
    explicit Failing(ipc::Inheritance inheritance) : Role(std::move(inheritance), "the test") {}
    bool is_watching() const { return watch_.is_active(); }
    bool was_reached = false;

private:
    Result<void> init() override
    {
        was_reached = true;
        if (auto watching = watch_.start(
                *loop_, inherited_.control.get(), loop::WatchMode::level_read, [](void*, loop::Ready) {}, this);
            !watching) {
            return watching;
        }
        return fail(Origin::local, "no");
    }
    void begin() override {}
    void on_message(ipc::Message) override {}
    void on_tick() override {}
    void on_terminate() override {}
    void on_master_gone() override {}
    void close() override { watch_.stop(); }

    loop::Watch watch_;
};

/// What the role leaves behind: 0 = nothing.
int run_failing(shm::Arena& arena, os::Fd control)
{
    os::set_log_descriptor(-1);
    ipc::Inheritance inheritance;
    inheritance.arena = &arena;
    inheritance.control = std::move(control);
    inheritance.master_pid = ::getppid();
    auto bundle = config::make_bundle(config::Recording{{{"x.toml", kConfig}}, {}}, "x.toml", 1);
    if (!bundle) {
        return 2;
    }
    inheritance.bundle = std::move(*bundle);
    Failing role(std::move(inheritance));
    const int status = role.run();
    return status != 1 || !role.was_reached ? 3 : role.is_watching() ? 4 : 0;
}

} // namespace

TEST_CASE("a role that cannot start leaves nothing on the loop")
{
    auto arena = shm::Arena::make();
    auto channel = os::make_channel();
    REQUIRE(arena);
    REQUIRE(channel);
    const pid_t child = ::fork();
    if (child == 0) {
        ::_exit(run_failing(*arena, std::move(channel->second)));
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
