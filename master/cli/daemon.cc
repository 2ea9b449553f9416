// SPDX-License-Identifier: Apache-2.0
#include "master/cli/daemon.h"

#include "common/os/fd.h"
#include "master/log_files.h"
#include "master/master.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

namespace ladle::master::cli {

namespace {

/// What the daemon says through the pipe: one byte, then the text of a failure.
constexpr char kServes = '+';
constexpr char kFailed = '-';

void leave_terminal()
{
    ::setsid();
    ::umask(022);
    if (::chdir("/") != 0) {
        return;
    }
    const os::Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    ::dup2(null.get(), 0);
    ::dup2(null.get(), 1);
}

std::string read_all(int fd)
{
    std::string text;
    char block[4096];
    for (;;) {
        const ssize_t n = ::read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return text;
        }
        text.append(block, static_cast<std::size_t>(n));
    }
}

[[noreturn]] void become_daemon(const CommandOptions& options, const std::string& error_log, os::Fd pipe)
{
    leave_terminal();
    const int status = run_master(options, error_log, [&pipe](const std::string& failure) {
        const std::string text = failure.empty() ? std::string(1, kServes) : kFailed + failure;
        if (::write(pipe.get(), text.data(), text.size()) >= 0) {
            pipe.reset();
        }
    });
    ::_exit(status);
}

} // namespace

StartOutcome start_daemon(const CommandOptions& options, const config::Config& config)
{
    StartOutcome outcome;
    outcome.error_log = daemon_error_log(config);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        outcome.failure = "cannot make a pipe";
        return outcome;
    }
    os::Fd reading(ends[0]);
    os::Fd writing(ends[1]);
    const pid_t pid = ::fork();
    if (pid == 0) {
        reading.reset();
        become_daemon(options, outcome.error_log, std::move(writing));
    }
    writing.reset();
    if (pid < 0) {
        outcome.failure = "cannot fork";
        return outcome;
    }
    outcome.pid = pid;
    const std::string said = read_all(reading.get());
    if (said.empty()) {
        outcome.failure = "it ended while starting: see " + outcome.error_log;
    } else if (said[0] == kFailed) {
        outcome.failure = said.substr(1);
    }
    return outcome;
}

int run_master(const CommandOptions& options, const std::string& error_log,
               const std::function<void(const std::string& failure)>& on_started)
{
    Master master(StartOptions{options.config_path, options.binary_path, options.roles, error_log, options.handover, on_started});
    if (const auto started = master.start(); !started) {
        if (on_started) {
            on_started(started.error().detail);
        }
        return 1;
    }
    return master.run();
}

} // namespace ladle::master::cli
