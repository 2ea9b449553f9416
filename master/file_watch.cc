// SPDX-License-Identifier: Apache-2.0
#include "master/file_watch.h"

#include "common/os/log.h"
#include "master/key_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace ladle::master {

namespace {

constexpr std::size_t kMostInLook = 1000; // 15 ms where all of them have to be read

using Paths = std::map<const char*, std::string>; // by where a text lies

/// The pairs of files that go together.
std::vector<std::pair<std::string, std::string>> pairs_of(const config::Config& config, const Paths& paths)
{
    std::vector<std::pair<std::string, std::string>> pairs;
    const auto add = [&](const config::Certificate& certificate) {
        const auto chain = paths.find(certificate.chain.text.data());
        const auto key = paths.find(certificate.key.text.data());
        if (chain != paths.end() && key != paths.end()) {
            pairs.emplace_back(chain->second, key->second);
        }
    };
    for (const config::Site& site : config.sites) {
        if (site.tls) {
            std::for_each(site.tls->certificates.begin(), site.tls->certificates.end(), add);
        }
    }
    for (const config::Upstream& upstream : config.upstreams) {
        if (upstream.tls && upstream.tls->certificate) {
            add(*upstream.tls->certificate);
        }
    }
    return pairs;
}

} // namespace

RenewedFiles FileWatch::look(const Running& running)
{
    if (of_.lock() != running.config) {
        follow(running);
    }
    bool is_moving = false;
    std::size_t count = 0;
    auto at = kept_.lower_bound(next_);
    for (; at != kept_.end() && count < kMostInLook; ++at, ++count) {
        is_moving |= look_at(at->first, at->second);
    }
    next_ = at == kept_.end() ? std::string() : at->first;
    is_dirty_ |= is_moving;
    const bool is_round = next_.empty();
    if (is_moving || !is_dirty_ || !is_round) {
        return {};
    }
    is_dirty_ = false;
    return settle(running);
}

void FileWatch::follow(const Running& running)
{
    of_ = running.config;
    kept_.clear();
    next_.clear();
    seen_.clear();
    changed_.clear();
    is_dirty_ = false;
    if (const auto bundle = config::open_bundle(running.bundle.get())) {
        kept_ = bundle->files.recording().kept;
    }
    std::erase_if(kept_, [](const auto& kept) { return config::is_secret_source(kept.first); });
}

bool FileWatch::look_at(const std::string& path, const config::SharedText& kept)
{
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0) {
        return false; // removed, or about to be there again: what we have is good
    }
    const Signature now{found.st_dev, found.st_ino, found.st_size,
                        static_cast<std::int64_t>(found.st_mtim.tv_sec) * 1'000'000'000 + found.st_mtim.tv_nsec};
    Signature& seen = seen_[path];
    if (seen == now) {
        return false;
    }
    seen = now;
    config::DiskFiles disk;
    Result<config::SharedText> text = disk.keep(path);
    const auto waiting = changed_.find(path);
    const std::string_view known = waiting != changed_.end() ? waiting->second.text : kept.text;
    if (!text || text->text == known) {
        return false;
    }
    if (text->text == kept.text) {
        changed_.erase(path); // put back
    } else {
        changed_[path] = std::move(*text);
    }
    return true;
}

/// What of changed_ can be taken: all but the pairs that do not fit.
RenewedFiles FileWatch::settle(const Running& running)
{
    auto bundle = config::open_bundle(running.bundle.get());
    const config::LoadResult loaded = bundle ? config::load(bundle->files, bundle->main_path) : config::LoadResult{};
    if (!loaded.config) {
        return {};
    }
    Paths paths;
    for (const auto& [path, kept] : bundle->files.recording().kept) {
        paths[kept.text.data()] = path;
    }
    std::set<std::string> held;
    for (const auto& [chain, key] : pairs_of(*loaded.config, paths)) {
        if (!changed_.contains(chain) && !changed_.contains(key)) {
            continue;
        }
        const auto text_of = [&](const std::string& path) {
            const auto renewed = changed_.find(path);
            return renewed != changed_.end() ? renewed->second.text : bundle->files.recording().kept.at(path).text;
        };
        const config::CertificateReport report = check_certificate(text_of(chain), text_of(key));
        if (!report.problem.empty()) {
            os::log(os::Level::warning, "a replaced certificate is not taken: the one before stays",
                    {{"cert", chain}, {"key", key}, {"reason", report.problem}});
            held.insert({chain, key});
        }
    }
    RenewedFiles taken;
    for (const auto& [path, text] : changed_) {
        if (!held.contains(path)) {
            taken[path] = text;
        }
    }
    return taken;
}

} // namespace ladle::master
