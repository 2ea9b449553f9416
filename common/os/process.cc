// SPDX-License-Identifier: Apache-2.0
#include "common/os/process.h"

#include "common/base/assert.h"
#include "common/os/fd.h"

#include <fmt/format.h>

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ladle::os {

namespace {
char* g_title = nullptr;
std::size_t g_title_space = 0;    ///< argv's strings and environ's
std::size_t g_argument_bytes = 0; ///< argv's strings alone
} // namespace

void keep_title_space(int argc, char** argv)
{
    if (argc < 1) {
        return;
    }
    // argv's strings and, after them, environ's lie in one piece; environ is moved to the heap so that its room is ours too.
    char* end = argv[0];
    for (int i = 0; i < argc; ++i) {
        if (argv[i] == end) {
            end += std::strlen(argv[i]) + 1;
        }
    }
    g_argument_bytes = static_cast<std::size_t>(end - argv[0]);
    std::size_t count = 0;
    for (char** e = environ; *e != nullptr; ++e, ++count) {
        if (*e == end) {
            end += std::strlen(*e) + 1;
        }
    }
    // Never destroyed: libraries look into the environment at their own end too.
    static auto& copies = *new std::vector<std::string>;
    static auto& pointers = *new std::vector<char*>;
    copies.assign(environ, environ + count);
    for (std::string& copy : copies) {
        pointers.push_back(copy.data());
    }
    pointers.push_back(nullptr);
    environ = pointers.data();
    g_title = argv[0];
    g_title_space = static_cast<std::size_t>(end - argv[0]);
}

void set_title(std::string_view title)
{
    const std::string text(title);
    ::prctl(PR_SET_NAME, text.c_str());
    if (g_title == nullptr || g_title_space < 2) {
        return;
    }
    const std::size_t n = std::min(text.size(), g_title_space - 1);
    std::memcpy(g_title, text.data(), n);
    std::memset(g_title + n, 0, g_title_space - n);
    if (n + 1 < g_argument_bytes) {
        // A last byte that is not NUL tells the kernel that this is a title: /proc/PID/cmdline then ends at its first NUL.
        g_title[g_argument_bytes - 1] = '.';
    }
}

std::vector<int> list_descriptors()
{
    std::vector<int> found;
    DIR* folder = ::opendir("/proc/self/fd");
    if (folder == nullptr) {
        return found;
    }
    while (const dirent* entry = ::readdir(folder)) {
        if (entry->d_name[0] != '.') {
            found.push_back(std::atoi(entry->d_name));
        }
    }
    const int own = ::dirfd(folder);
    ::closedir(folder);
    std::erase(found, own);
    std::sort(found.begin(), found.end());
    return found;
}

void close_all_but(std::vector<int> keep)
{
    Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null) {
        ::dup2(null.get(), 0);
        ::dup2(null.get(), 1);
        null.reset();
    }
    std::erase_if(keep, [](int fd) { return fd < 3; });
    std::sort(keep.begin(), keep.end());
    unsigned from = 3;
    for (const int fd : keep) {
        if (static_cast<unsigned>(fd) > from) {
            ::close_range(from, static_cast<unsigned>(fd) - 1, 0);
        }
        from = static_cast<unsigned>(fd) + 1;
    }
    ::close_range(from, ~0u, 0);
    // A tracer such as valgrind keeps its own descriptors above the limit that it shows us, and away from close_range().
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    for (const int fd : list_descriptors()) {
        LADLE_ASSERT(fd < 3 || static_cast<rlim_t>(fd) >= limit.rlim_cur || std::binary_search(keep.begin(), keep.end(), fd));
    }
}

Result<void> drop_privileges(uid_t uid, gid_t gid, pid_t parent, int death_signal)
{
    if (uid != 0) {
        if (::setgroups(0, nullptr) != 0) {
            return fail_errno("cannot leave the supplementary groups", errno);
        }
        if (::setresgid(gid, gid, gid) != 0) {
            return fail_errno(fmt::format("cannot become group {}", gid), errno);
        }
        if (::setresuid(uid, uid, uid) != 0) {
            return fail_errno(fmt::format("cannot become user {}", uid), errno);
        }
        LADLE_ASSERT(::setuid(0) != 0);
    }
    // After the change of user, which clears the death signal; and the parent may have died before it was set.
    ::prctl(PR_SET_PDEATHSIG, death_signal);
    if (::getppid() != parent) {
        return fail(Origin::local, "the master is gone");
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fail_errno("cannot set no_new_privs", errno);
    }
    return {};
}

void reset_signals() noexcept
{
    for (int number = 1; number < NSIG; ++number) {
        ::signal(number, SIG_DFL);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

SignalsBlocked::SignalsBlocked() noexcept
{
    static_assert(sizeof(sigset_t) <= sizeof saved_);
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before);
    std::memcpy(saved_, &before, sizeof before);
}

SignalsBlocked::~SignalsBlocked()
{
    sigset_t before;
    std::memcpy(&before, saved_, sizeof before);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

bool is_stopped(pid_t pid)
{
    FILE* stat = std::fopen(fmt::format("/proc/{}/stat", pid).c_str(), "re");
    if (stat == nullptr) {
        return true;
    }
    char line[512] = "";
    const bool is_read = std::fgets(line, sizeof line, stat) != nullptr;
    std::fclose(stat);
    const char* name_end = is_read ? std::strrchr(line, ')') : nullptr; // the name may hold anything
    return name_end == nullptr || name_end[1] == '\0' || name_end[2] == 'T' || name_end[2] == 't';
}

namespace {

/// The CPU quota of this process's own control group (version 2), in CPUs; 0 = none or unknown.
double quota_cpus()
{
    double quota = 0;
    FILE* own = std::fopen("/proc/self/cgroup", "re");
    if (own == nullptr) {
        return 0;
    }
    char line[512];
    std::string path = "/sys/fs/cgroup";
    while (std::fgets(line, sizeof line, own) != nullptr) {
        if (std::strncmp(line, "0::", 3) == 0) {
            path.append(line + 3, std::strcspn(line + 3, "\n"));
        }
    }
    std::fclose(own);
    if (FILE* limit = std::fopen((path + "/cpu.max").c_str(), "re")) {
        double most = 0;
        double period = 0;
        if (std::fscanf(limit, "%lf %lf", &most, &period) == 2 && period > 0) {
            quota = most / period;
        }
        std::fclose(limit);
    }
    return quota;
}

} // namespace

unsigned usable_cpus()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    unsigned count = 1;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        count = static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
    }
    if (const double quota = quota_cpus(); quota > 0) {
        count = std::min(count, std::max(1u, static_cast<unsigned>(std::ceil(quota))));
    }
    return count;
}

std::uint64_t raise_descriptor_limit() noexcept
{
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &limit);
        ::getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

} // namespace ladle::os
