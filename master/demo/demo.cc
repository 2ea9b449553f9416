// SPDX-License-Identifier: Apache-2.0
#include "master/demo/demo.h"

#include "common/os/process.h"
#include "common/os/socket.h"
#include "master/cli/daemon.h"
#include "master/demo/origin.h"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

namespace ladle::master::cli {

namespace {

constexpr std::uint16_t kDefaultPort = 8080;

struct Origin {
    std::string name;
    std::uint16_t port = 0;
    pid_t pid = 0;
};

Result<os::Fd> listen_on(std::uint16_t port, std::uint16_t& bound)
{
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in.sin_port = htons(port);
    sockaddr_storage address{};
    std::memcpy(&address, &in, sizeof in);
    auto socket = os::bind_stream(address, sizeof in, os::Sharing::alone);
    if (!socket) {
        return socket;
    }
    socklen_t length = sizeof in;
    ::getsockname(socket->get(), reinterpret_cast<sockaddr*>(&in), &length);
    bound = ntohs(in.sin_port);
    return socket;
}

/// The port that was asked for; where none was, the usual one, or any that is free.
std::uint16_t choose_port(std::optional<std::uint16_t> wanted)
{
    std::uint16_t port = 0;
    if (wanted && *wanted != 0) {
        return *wanted;
    }
    if (!wanted && listen_on(kDefaultPort, port)) {
        return port;
    }
    return listen_on(0, port) ? port : kDefaultPort;
}

/// What ends the demo (Ctrl-C, kill, the terminal's end) or stops it (Ctrl-Z). Blocked from the first file to the last, and waited
/// for.
sigset_t awaited_signals()
{
    sigset_t set;
    ::sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCHLD}) {
        ::sigaddset(&set, number);
    }
    return set;
}

Result<void> start_origin(Origin& origin)
{
    auto socket = listen_on(0, origin.port);
    if (!socket) {
        return std::unexpected(socket.error());
    }
    if (auto listening = os::start_listening(socket->get()); !listening) {
        return listening;
    }
    ::fcntl(socket->get(), F_SETFL, ::fcntl(socket->get(), F_GETFL) & ~O_NONBLOCK);
    const pid_t parent = ::getpid();
    origin.pid = ::fork();
    if (origin.pid == 0) {
        ::signal(SIGINT, SIG_IGN); // Ctrl-C goes to all: the proxy first finishes what these still answer
        ::signal(SIGHUP, SIG_IGN);
        ::signal(SIGQUIT, SIG_IGN);
        const sigset_t signals = awaited_signals();
        ::sigprocmask(SIG_UNBLOCK, &signals, nullptr);
        if (::geteuid() == 0) {
            std::ignore = os::drop_privileges(65534, 65534, parent, SIGKILL);
        } else {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        }
        os::set_title("ladle: demo server " + origin.name);
        serve_origin(std::move(*socket), origin.name);
    }
    if (origin.pid < 0) {
        return fail_errno("cannot fork", errno);
    }
    return {};
}

bool write_config(const std::string& folder, std::uint16_t port, const std::array<Origin, 2>& origins)
{
    std::ofstream file(folder + "/ladle.toml");
    file << fmt::format(R"(# Written by "ladle demo"; goes when it ends.
[server]
workers = 2
user = "nobody"
admin = "{0}/control.sock"
drain_timeout = "2s"

[log]
access = "stderr"
error = {{ to = "stderr", level = "warning" }}

[budget]
spool_path = "{0}/spool"

[upstream.demo]
servers = ["127.0.0.1:{1}", "127.0.0.1:{2}"]
balance = "round_robin"

[site."*"]
listen = "http://127.0.0.1:{3}"
upstream = "demo"
)",
                        folder, origins[0].port, origins[1].port, port);
    return file.good();
}

/// `shell_name` finds this program: it may lie in no folder of PATH.
void print_welcome(const std::string& folder, std::uint16_t port, const std::string& shell_name)
{
    const std::string base = fmt::format("http://127.0.0.1:{}", port);
    fmt::print("Ladle serves {0} with two small servers behind it. Open it in a browser, or try:\n\n"
               "  curl {0}/              the page; do it twice, the servers take turns\n"
               "  curl {0}/headers       what the server was asked, with what Ladle added\n"
               "  curl {0}/picture.svg   a picture\n"
               "  curl {0}/slow          an answer that takes three seconds\n"
               "  curl -N {0}/ticks      an event stream, a line a second\n"
               "  curl -i -N -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \\\n"
               "       -H 'Sec-WebSocket-Key: bGFkbGUtZGVtby1rZXkhIQ==' {0}/ws    a WebSocket's handshake (echo in the browser)\n\n"
               "Its configuration is {1}/ladle.toml; edit it and put it in force, or look inside:\n\n"
               "  {2} reload --config {1}/ladle.toml\n"
               "  {2} status --config {1}/ladle.toml\n\n"
               "The access log follows. Ctrl-C ends all.\n\n",
               base, folder, shell_name);
    std::fflush(stdout);
}

/// In a child: the proxy. Its own process group, so that Ctrl-C comes to it by way of the parent, once.
[[noreturn]] void run_proxy(const CommandOptions& options, const std::string& folder, std::uint16_t port, pid_t parent)
{
    ::setpgid(0, 0);
    ::signal(SIGTTOU, SIG_IGN);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const bool is_orphan = ::getppid() != parent;
    const int code = is_orphan ? 1 : run_master(options, {}, [&](const std::string& failure) {
        if (failure.empty()) {
            print_welcome(folder, port, options.shell_name);
        } else {
            fmt::print(stderr, "ladle: the demo does not start: {}\n", failure);
        }
    });
    ::_exit(code);
}

/// Ctrl-Z: the proxy's processes, which the terminal does not reach, stop and go on with this one. Where nobody could continue us
/// (an orphaned process group, SIGTSTP ignored) the kernel does not stop us, and so they go on at once.
void stop_with_proxy(pid_t proxy)
{
    sigset_t stop;
    ::sigemptyset(&stop);
    ::sigaddset(&stop, SIGTSTP);
    ::kill(-proxy, SIGSTOP);
    ::raise(SIGTSTP);
    ::sigprocmask(SIG_UNBLOCK, &stop, nullptr); // stops here
    ::sigprocmask(SIG_BLOCK, &stop, nullptr);
    ::kill(-proxy, SIGCONT);
}

/// Passes each ending signal on (a second one makes the proxy stop at once) until the proxy has ended; its exit code.
int wait_for_proxy(pid_t proxy, const sigset_t& signals)
{
    for (;;) {
        int number = 0;
        ::sigwait(&signals, &number);
        if (number == SIGTSTP) {
            stop_with_proxy(proxy);
        } else if (number != SIGCHLD) {
            ::kill(proxy, SIGTERM);
        }
        int status = 0;
        const pid_t ended = ::waitpid(proxy, &status, WNOHANG);
        if (ended == proxy) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
        if (ended < 0 && errno != EINTR) { // somebody else took it: how it ended is not known, and nothing tells us any more
            fmt::print(stderr, "ladle: cannot wait for the demo's proxy: {}\n", strerrordesc_np(errno));
            return 1;
        }
    }
}

/// Forks the proxy and waits for it; its exit code.
int serve_demo(const CommandOptions& options, const std::string& folder, std::uint16_t port, const sigset_t& signals)
{
    const pid_t self = ::getpid();
    const pid_t proxy = ::fork();
    if (proxy == 0) {
        run_proxy(options, folder, port, self);
    }
    if (proxy < 0) {
        fmt::print(stderr, "ladle: cannot start the demo's proxy: {}\n", strerrordesc_np(errno));
        return 1;
    }
    ::setpgid(proxy, proxy); // as it does itself: whoever comes first
    return wait_for_proxy(proxy, signals);
}

Result<void> start_origins(std::array<Origin, 2>& origins)
{
    for (Origin& origin : origins) {
        if (auto started = start_origin(origin); !started) {
            return started;
        }
    }
    return {};
}

} // namespace

int run_demo(const DemoOptions& demo, CommandOptions options)
{
    if (options.has_config_option) {
        fmt::print(stderr, "ladle: the demo brings its own configuration: {} is not used\n", options.config_path);
    }
    const sigset_t signals = awaited_signals();
    sigset_t before;
    ::sigprocmask(SIG_BLOCK, &signals, &before);
    std::error_code unusable;
    std::string folder = (std::filesystem::temp_directory_path(unusable) / "ladle-demo-XXXXXX").string();
    if (unusable) {
        fmt::print(stderr, "ladle: there is no folder for temporary files: {} (TMPDIR)\n", unusable.message());
        return 1;
    }
    if (::mkdtemp(folder.data()) == nullptr) {
        fmt::print(stderr, "ladle: cannot make a folder {}: {}\n", folder, strerrordesc_np(errno));
        return 1;
    }
    const std::uint16_t port = choose_port(demo.port);
    std::array<Origin, 2> origins = {Origin{"A"}, Origin{"B"}};
    int code = 1;
    if (const auto started = start_origins(origins); !started) {
        fmt::print(stderr, "ladle: cannot start the demo's servers: {}\n", started.error().detail);
    } else if (!write_config(folder, port, origins)) {
        fmt::print(stderr, "ladle: cannot write {}/ladle.toml\n", folder);
    } else {
        options.config_path = folder + "/ladle.toml";
        code = serve_demo(options, folder, port, signals);
    }
    for (const Origin& origin : origins) {
        if (origin.pid > 0) {
            ::kill(origin.pid, SIGKILL);
            ::waitpid(origin.pid, nullptr, 0);
        }
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return code;
}

} // namespace ladle::master::cli
