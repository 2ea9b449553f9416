// SPDX-License-Identifier: Apache-2.0
#include "master/cli/find_master.h"

#include "common/config/loader.h"

#include <fmt/format.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <regex>

namespace ladle::master::cli {

namespace {
constexpr const char* kPackagedConfig = "/etc/ladle/ladle.toml";
constexpr const char* kUnits[] = {"/etc/systemd/system/ladle.service", "/lib/systemd/system/ladle.service",
                                  "/usr/lib/systemd/system/ladle.service"};

/// For a file that does not load: the line that says it.
std::string scan_for_admin(const std::string& config_path)
{
    static const std::regex line_form(R"re(^\s*(?:server\.)?admin\s*=\s*["']([^"']+)["'])re");
    std::ifstream file(config_path);
    std::string line;
    while (std::getline(file, line)) {
        std::smatch match;
        if (std::regex_search(line, match, line_form)) {
            return config::resolve_path(config_path, match[1]);
        }
    }
    return config::Server{}.admin;
}

} // namespace

Result<std::string> find_admin(const std::string& config_path)
{
    if (::access(config_path.c_str(), R_OK) != 0 && config_path != kPackagedConfig) {
        const int code = errno;
        return std::unexpected(
            Error{code, Origin::local, Retry::no, fmt::format("cannot read {}: {}", config_path, strerrordesc_np(code))});
    }
    config::DiskFiles files;
    const config::LoadResult loaded = config::load(files, config_path);
    return loaded.config ? loaded.config->server.admin : scan_for_admin(config_path);
}

bool is_systemd_unit(const std::string& config_path)
{
    if (::geteuid() != 0 || config_path != kPackagedConfig || ::access("/run/systemd/system", F_OK) != 0) {
        return false;
    }
    for (const char* unit : kUnits) {
        if (::access(unit, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

int run_systemctl(const char* verb)
{
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::execlp("systemctl", "systemctl", verb, "ladle.service", nullptr);
        ::_exit(127);
    }
    int status = 0;
    if (pid < 0 || ::waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fmt::print(stderr, "ladle: systemctl {} ladle failed: journalctl -u ladle shows why\n", verb);
        return 1;
    }
    return 0;
}

} // namespace ladle::master::cli
