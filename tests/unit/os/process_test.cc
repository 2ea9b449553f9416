// SPDX-License-Identifier: Apache-2.0
#include "common/os/process.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

using namespace ladle;

namespace {

/// The exit status of a child that runs `body`.
int in_child(const std::function<int()>& body)
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::_exit(body());
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

} // namespace

TEST_CASE("close_all_but leaves the standard three and what is listed")
{
    CHECK(in_child([] {
              const int kept = ::fcntl(0, F_DUPFD, 50);
              const int lost = ::fcntl(0, F_DUPFD, 60);
              os::close_all_but({kept, -1, 2});
              const std::vector<int> left = os::list_descriptors();
              return left == std::vector<int>{0, 1, 2, kept} && ::fcntl(lost, F_GETFD) < 0 ? 0 : 1;
          }) == 0);
}

TEST_CASE("dropped privileges cannot be had back")
{
    if (::geteuid() != 0) {
        return;
    }
    const pid_t parent = ::getpid();
    CHECK(in_child([parent] {
              if (!os::drop_privileges(65534, 65534, parent, SIGTERM)) {
                  return 1;
              }
              const bool is_other =
                  ::getuid() == 65534 && ::geteuid() == 65534 && ::getgid() == 65534 && ::getgroups(0, nullptr) == 0;
              return is_other && ::setuid(0) != 0 && ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2;
          }) == 0);
}

TEST_CASE("a child whose parent is gone does not start")
{
    CHECK(in_child([] { return os::drop_privileges(0, 0, 1'000'000'000, SIGTERM) ? 0 : 7; }) == 7);
}

TEST_CASE("a stopped process is seen as stopped")
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        for (;;) {
            ::pause();
        }
    }
    CHECK_FALSE(os::is_stopped(pid));
    ::kill(pid, SIGSTOP);
    int status = 0;
    ::waitpid(pid, &status, WUNTRACED);
    CHECK(os::is_stopped(pid));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    CHECK(os::is_stopped(pid));
}

TEST_CASE("there is at least one CPU")
{
    CHECK(os::usable_cpus() >= 1);
}
