// SPDX-License-Identifier: Apache-2.0
#include "master/running.h"

#include "common/os/process.h"
#include "master/key_files.h"

#include <fmt/format.h>

#include <pwd.h>
#include <unistd.h>

#include <algorithm>

namespace ladle::master {

namespace {

/// `files` is a DiskFiles or a BundleFiles: what was read from them makes the bundle.
template <typename Files>
LoadedFile load_from(Files& files, const std::string& path, std::uint64_t generation)
{
    LoadedFile loaded;
    config::LoadResult result = config::load(files, path, generation, {&check_certificate, &load_providers});
    loaded.diagnostics = std::move(result.diagnostics);
    if (!result.config) {
        return loaded;
    }
    auto bundle = config::make_bundle(files.recording(), path, generation);
    if (!bundle) {
        loaded.failure = bundle.error().detail;
        return loaded;
    }
    loaded.running = Running{std::move(result.config), std::move(*bundle), std::time(nullptr)};
    return loaded;
}

/// What runs, with something changed in what it was made from.
template <typename Change>
LoadedFile load_again(const Running& running, std::uint64_t generation, Change change)
{
    const auto bundle = config::open_bundle(running.bundle.get());
    if (!bundle) {
        LoadedFile loaded;
        loaded.failure = bundle.error().detail;
        return loaded;
    }
    config::Recording recording = bundle->files.recording();
    change(recording);
    config::BundleFiles files(std::move(recording));
    return load_from(files, bundle->main_path, generation);
}

} // namespace

LoadedFile load_file(const std::string& path, std::uint64_t generation, const std::string& server_changes)
{
    config::DiskFiles files(server_changes);
    return load_from(files, path, generation);
}

LoadedFile load_renewed(const Running& running, const RenewedFiles& renewed, std::uint64_t generation)
{
    return load_again(running, generation, [&renewed](config::Recording& recording) {
        for (const auto& [path, text] : renewed) {
            recording.kept[path] = text;
        }
    });
}

LoadedFile load_changed(const Running& running, const std::string& server_changes, std::uint64_t generation)
{
    return load_again(running, generation,
                      [&server_changes](config::Recording& recording) { recording.set_server_changes(server_changes); });
}

std::string explain(const LoadedFile& loaded)
{
    return config::to_text(loaded.diagnostics) + (loaded.failure.empty() ? "" : "error: " + loaded.failure + "\n");
}

std::uint32_t worker_count(const config::Config& config)
{
    const std::uint32_t wanted = config.server.workers != 0 ? config.server.workers : os::usable_cpus();
    return std::min(wanted, config::kMaxWorkers);
}

Result<Identity> find_identity(const config::Config& config)
{
    if (::geteuid() != 0) {
        return Identity{};
    }
    const passwd* user = ::getpwnam(config.server.user.c_str());
    if (user == nullptr) {
        return fail(Origin::local,
                    fmt::format("there is no user \"{}\" for the workers: create it (adduser --system --group {}) or set "
                                "server.user",
                                config.server.user, config.server.user));
    }
    return Identity{user->pw_uid, user->pw_gid};
}

} // namespace ladle::master
