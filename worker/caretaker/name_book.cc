// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/name_book.h"

#include "common/os/log.h"
#include "common/os/socket.h"

#include <algorithm>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::chrono::seconds kMinTtl{1};
constexpr std::chrono::seconds kMaxTtl{300};
constexpr unsigned kMaxRetryDoublings = 5; ///< 1 s … 32 s, cut to kMaxRetry
constexpr std::chrono::seconds kMaxRetry{30};
constexpr unsigned kTicksToRefresh = 20;

std::chrono::seconds retry_after(unsigned failures)
{
    return std::min(std::chrono::seconds(1u << std::min(failures - 1, kMaxRetryDoublings)), kMaxRetry);
}

} // namespace

NameBook::NameBook(loop::Loop& loop, shm::Regions& regions)
    : regions_(regions), resolver_(loop, &NameBook::on_resolved, this)
{
}

std::map<std::string, std::vector<NameBook::Use>> NameBook::uses_of(const config::Config& config) const
{
    std::map<std::string, std::vector<Use>> uses;
    for (const config::Upstream& upstream : config.upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            const int entry = server.host_name.empty() ? -1 : shm::find_server(regions_.servers, upstream.name, server.text);
            if (entry >= 0) {
                uses[server.host_name].push_back({static_cast<std::uint32_t>(entry), server.port});
            }
        }
    }
    return uses;
}

void NameBook::add(const config::Config& config)
{
    for (auto& [host, uses] : uses_of(config)) {
        Name& name = names_[host];
        for (const Use& use : uses) {
            const auto is_same = [&use](const Use& known) { return known.entry == use.entry; };
            if (std::none_of(name.uses.begin(), name.uses.end(), is_same)) {
                name.uses.push_back(use);
                name.is_unpublished = name.is_answered;
            }
        }
    }
    on_tick();
}

void NameBook::keep_only(const config::Config& config)
{
    const auto uses = uses_of(config);
    std::erase_if(names_, [&uses](const auto& name) { return !uses.contains(name.first); });
    for (auto& [host, name] : names_) {
        name.uses = uses.at(host);
    }
}

Result<void> NameBook::prepare(const config::Config& config)
{
    if (auto prepared = resolver_.prepare(config.server.resolvers); !prepared) {
        return prepared;
    }
    if (!resolver_.is_prepared()) {
        add(config); // else those in force would be asked for names that only the others may know
    }
    return {};
}

bool NameBook::commit(const config::Config& config)
{
    const bool is_other = resolver_.is_prepared();
    if (is_other) {
        resolver_.commit();
        for (auto& [host, name] : names_) {
            name.next = 0;
            name.is_asking = false;
            name.is_answered = false;
        }
    }
    keep_only(config);
    add(config);
    return is_other;
}

void NameBook::abort(const config::Config& config)
{
    resolver_.abort();
    keep_only(config);
}

bool NameBook::is_settled() const
{
    return std::all_of(names_.begin(), names_.end(), [](const auto& name) { return name.second.is_answered; });
}

void NameBook::on_tick()
{
    if (++ticks_ % kTicksToRefresh == 0) {
        resolver_.refresh_servers();
    }
    const loop::Nanos now = loop::clock_now();
    std::vector<std::string> due;
    for (auto& [host, name] : names_) {
        if (name.is_unpublished) {
            publish(name);
        }
        if (!name.is_asking && now >= name.next) {
            name.is_asking = true;
            due.push_back(host);
        }
    }
    for (const std::string& host : due) {
        resolver_.ask(host);
    }
}

void NameBook::on_resolved(void* self, Resolution resolution)
{
    auto& book = *static_cast<NameBook*>(self);
    const auto it = book.names_.find(resolution.host);
    if (it != book.names_.end() && it->second.is_asking) {
        book.accept(it->first, it->second, std::move(resolution));
    }
}

void NameBook::accept(const std::string& host, Name& name, Resolution resolution)
{
    name.is_asking = false;
    name.is_answered = true;
    const bool is_good = resolution.failure.empty();
    std::chrono::seconds wait = std::clamp(resolution.ttl, kMinTtl, kMaxTtl);
    if (is_good) {
        if (name.has_failed) {
            os::log(os::Level::info, "the name resolves again", {{"name", host}});
        }
        if (resolution.addresses.size() > shm::kMaxAddresses) {
            os::log(os::Level::warning, "a name has more addresses than are used",
                    {{"name", host}, {"addresses", resolution.addresses.size()}, {"used", shm::kMaxAddresses}});
        }
        name.addresses = std::move(resolution.addresses);
        name.failures = 0;
    } else {
        wait = retry_after(++name.failures);
        if (!name.has_failed) {
            os::log(os::Level::warning, "a server's name does not resolve",
                    {{"name", host}, {"reason", resolution.failure}, {"last_addresses_kept", name.addresses.size()}});
        }
    }
    name.has_failed = !is_good;
    name.next = loop::clock_now() + loop::to_nanos(wait);
    publish(name);
}

void NameBook::publish(Name& name)
{
    name.is_unpublished = false;
    for (const Use& use : name.uses) {
        shm::ServerEntry& entry = regions_.servers.entries[use.entry];
        std::vector<shm::ServerAddress> addresses = name.addresses;
        if (addresses.empty()) {
            // A caretaker before us may have known some: better old than none.
            addresses.assign(entry.addresses, entry.addresses + std::min(entry.address_count, shm::kMaxAddresses));
        }
        for (shm::ServerAddress& address : addresses) {
            address.port = use.port;
        }
        if (entry.address_count == 0 && !addresses.empty()) {
            // Workers hold the missing address against the server: that is over.
            entry.health.connect_failures.store(0, std::memory_order_relaxed);
            entry.health.out_until_ns.store(0, std::memory_order_relaxed);
        }
        const auto state = name.has_failed ? shm::NameState::failed : shm::NameState::resolved;
        name.is_unpublished |= !shm::publish_addresses(entry, addresses, state, loop::clock_now());
    }
}

} // namespace ladle::worker
