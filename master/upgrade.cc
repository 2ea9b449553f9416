// SPDX-License-Identifier: Apache-2.0
#include "master/upgrade.h"

#include "common/os/log.h"
#include "common/os/memory_file.h"
#include "common/os/process.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace ladle::master {

namespace {

constexpr std::chrono::seconds kCheckLimit{20};
constexpr std::chrono::seconds kReplaceLimit{30};

/// exec keeps what has no close-on-exec flag.
void keep_over_exec(const std::vector<int>& descriptors, bool kept)
{
    for (const int fd : descriptors) {
        ::fcntl(fd, F_SETFD, kept ? 0 : FD_CLOEXEC);
    }
}

} // namespace

Upgrade::Upgrade(loop::Loop& loop, std::string binary_path, std::string config_path)
    : loop_(loop), binary_path_(std::move(binary_path)), config_path_(std::move(config_path))
{
}

void Upgrade::begin(MakeState make_state, Done done)
{
    make_state_ = std::move(make_state);
    done_ = std::move(done);
    phase_ = Phase::checking;
    if (::access(binary_path_.c_str(), X_OK) != 0) {
        return finish(false, fmt::format("cannot execute {}: {}", binary_path_, strerrordesc_np(errno)));
    }
    const Handover state = make_state_();
    const auto file = write_handover(state);
    output_ = os::Fd(::memfd_create("ladle-check-output", MFD_CLOEXEC));
    if (!file || !output_) {
        return finish(false, "cannot write the handover");
    }
    os::log(os::Level::info, "upgrade: checking the new binary", {{"path", binary_path_}});
    const pid_t pid = ::fork();
    if (pid == 0) {
        os::reset_signals();
        ::dup2(output_.get(), 1);
        ::dup2(output_.get(), 2);
        keep_over_exec(descriptors_of(state), true);
        keep_over_exec({file->get()}, true);
        const std::string number = std::to_string(file->get());
        ::execl(binary_path_.c_str(), binary_path_.c_str(), "check-handover", number.c_str(), nullptr);
        ::dprintf(2, "cannot execute: %s\n", strerrordesc_np(errno));
        ::_exit(127);
    }
    if (pid < 0) {
        return finish(false, "cannot fork");
    }
    checking_ = pid;
    std::ignore = limit_.start(
        loop_, kCheckLimit, loop::Timer::Repeat::once, [](void* self) { ::kill(static_cast<Upgrade*>(self)->checking_, SIGKILL); },
        this);
}

std::string Upgrade::check_output() const
{
    auto text = os::read_whole(output_.get(), 1 << 16);
    std::string out = text ? *text : "";
    while (!out.empty() && out.back() == '\n') {
        out.pop_back();
    }
    return out;
}

void Upgrade::on_stranger(pid_t pid, int status)
{
    if (phase_ != Phase::checking || pid != checking_) {
        return;
    }
    limit_.stop();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        const std::string said = check_output();
        return finish(false, fmt::format("{} cannot take over{}{}", binary_path_, said.empty() ? "" : ": ", said));
    }
    execute();
}

void Upgrade::execute()
{
    const Handover state = make_state_();
    auto file = write_handover(state);
    if (!file) {
        return finish(false, file.error().detail);
    }
    std::vector<int> kept = descriptors_of(state);
    kept.push_back(file->get());
    os::log(os::Level::info, "upgrade: becoming the new binary", {{"path", binary_path_}});
    const std::string number = std::to_string(file->get());
    const os::SignalsBlocked blocked; // the new image unblocks, and sweeps what it may have missed
    keep_over_exec(kept, true);
    ::execl(binary_path_.c_str(), binary_path_.c_str(), "run", "--config", config_path_.c_str(), "--handover", number.c_str(),
            nullptr);
    const int code = errno;
    keep_over_exec(kept, false);
    finish(false, fmt::format("cannot execute {}: {}", binary_path_, strerrordesc_np(code)));
}

void Upgrade::continue_after_exec(Done done)
{
    done_ = std::move(done);
    phase_ = Phase::replacing;
    std::ignore = limit_.start(
        loop_, kReplaceLimit, loop::Timer::Repeat::once,
        [](void* self) { static_cast<Upgrade*>(self)->on_failure("the new workers are not ready in time"); }, this);
}

void Upgrade::on_complete()
{
    if (phase_ == Phase::replacing) {
        finish(true, "upgraded");
    }
}

void Upgrade::on_failure(const std::string& why)
{
    if (phase_ == Phase::replacing) {
        finish(false, why);
    }
}

void Upgrade::finish(bool is_done, std::string message)
{
    limit_.stop();
    phase_ = Phase::none;
    output_.reset();
    make_state_ = nullptr;
    os::log(is_done ? os::Level::info : os::Level::error, is_done ? "upgraded" : "upgrade refused", {{"message", message}});
    if (Done done = std::exchange(done_, nullptr)) {
        done(Outcome{is_done, std::move(message)});
    }
}

} // namespace ladle::master
