// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/name_book.h"

#include "common/config/service_name.h"
#include "common/os/log.h"
#include "common/os/socket.h"

#include <algorithm>
#include <set>
#include <utility>

namespace ladle::worker {

namespace {

/// A target is a whole name, whatever domains resolv.conf would have searched (RFC 2782): its dot tells it from those of the
/// configuration.
Sought target_of(const std::string& target)
{
    return {Sought::Kind::addresses, target + '.'};
}

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

std::map<Sought, std::vector<NameBook::Use>> NameBook::uses_of(const config::Config& config) const
{
    std::map<Sought, std::vector<Use>> uses;
    for (const config::Upstream& upstream : config.upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            const int entry = server.host_name.empty() ? -1 : shm::find_server(regions_.servers, upstream.name, server.text);
            if (entry >= 0) {
                const auto kind = config::is_service(server) ? Sought::Kind::services : Sought::Kind::addresses;
                uses[{kind, server.host_name}].push_back({static_cast<std::uint32_t>(entry), server.port});
            }
        }
    }
    return uses;
}

void NameBook::add(const config::Config& config)
{
    for (auto& [sought, uses] : uses_of(config)) {
        Name& name = names_[sought];
        for (const Use& use : uses) {
            const auto is_same = [&use](const Use& known) { return known.entry == use.entry; };
            if (std::none_of(name.uses.begin(), name.uses.end(), is_same)) {
                name.uses.push_back(use);
                // A service whose hosts have yet to be answered has nothing to say: that comes with them.
                name.is_unpublished |= name.is_answered && (name.has_failed || !name.addresses.empty());
            }
        }
    }
    on_tick();
}

void NameBook::keep_only(const config::Config& config)
{
    const auto uses = uses_of(config);
    for (auto& [sought, name] : names_) {
        const auto found = uses.find(sought);
        name.uses = found != uses.end() ? found->second : std::vector<Use>();
    }
    forget_targets();
}

/// What no server of the configuration is called, and no record of a service points to.
void NameBook::forget_targets()
{
    std::set<std::string> wanted;
    for (const auto& [sought, name] : names_) {
        for (const ServiceRecord& record : name.records) {
            if (!name.uses.empty()) {
                wanted.insert(target_of(record.target).name);
            }
        }
    }
    std::erase_if(names_, [&wanted](const auto& one) {
        const auto& [sought, name] = one;
        return name.uses.empty() && (sought.kind == Sought::Kind::services || !wanted.contains(sought.name));
    });
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
        for (auto& [sought, name] : names_) {
            name.next = 0;
            name.is_asking = false;
            name.is_answered = false;
            name.records.clear(); // the others may know other targets
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
        forget_targets();
    }
    for (auto& [sought, name] : names_) {
        if (name.is_unpublished) {
            publish(name);
        }
    }
    ask_due();
}

void NameBook::ask_due()
{
    const loop::Nanos now = loop::clock_now();
    std::vector<Sought> due;
    for (auto& [sought, name] : names_) {
        if (!name.is_asking && now >= name.next) {
            name.is_asking = true;
            due.push_back(sought);
        }
    }
    for (const Sought& sought : due) {
        resolver_.ask(sought); // an answer that comes at once may bring more names
    }
}

void NameBook::on_resolved(void* self, Resolution resolution)
{
    auto& book = *static_cast<NameBook*>(self);
    const auto it = book.names_.find(resolution.sought);
    if (it != book.names_.end() && it->second.is_asking) {
        book.accept(it->first, it->second, std::move(resolution));
    }
}

void NameBook::accept(const Sought& sought, Name& name, Resolution resolution)
{
    name.is_asking = false;
    name.is_answered = true;
    name.failure = std::move(resolution.failure);
    name.failures = name.failure.empty() ? 0 : name.failures + 1;
    const auto wait = name.failure.empty() ? std::clamp(resolution.ttl, kMinTtl, kMaxTtl) : retry_after(name.failures);
    name.next = loop::clock_now() + loop::to_nanos(wait);
    if (sought.kind == Sought::Kind::services) {
        return accept_records(sought, name, std::move(resolution.services));
    }
    if (name.failure.empty()) {
        name.addresses = std::move(resolution.addresses);
    }
    settle(sought, name, name.failure);
    for (auto& [other, service] : names_) {
        const auto points_here = [&sought](const ServiceRecord& record) { return target_of(record.target) == sought; };
        if (std::any_of(service.records.begin(), service.records.end(), points_here)) {
            combine(other, service);
        }
    }
}

void NameBook::accept_records(const Sought& sought, Name& service, ServiceAnswer answer)
{
    if (service.failure.empty()) {
        if (answer.left_out > std::exchange(service.left_out, answer.left_out)) {
            os::log(os::Level::warning, "a service has more SRV records than are used",
                    {{"name", to_text(sought)}, {"used", answer.records.size()}, {"left_out", answer.left_out}});
        }
        service.records = std::move(answer.records);
        for (const ServiceRecord& record : service.records) {
            names_.try_emplace(target_of(record.target));
        }
    }
    combine(sought, service);
    ask_due();
}

/// Puts the addresses of a service together. Those it has stay while a target has yet to be answered: half of the hosts would get
/// the load of all. Where it had none, what is known is better than nothing, and each answer brings more.
void NameBook::combine(const Sought& sought, Name& service)
{
    const ServicePlaces places = places_of(service.records, [this](const std::string& target) {
        const auto known = names_.find(target_of(target));
        return known == names_.end() ? Target{} : Target{known->second.is_answered, &known->second.addresses};
    });
    const auto has_addresses = [this](const Use& use) { return regions_.servers.entries[use.entry].address_count != 0; };
    const bool has_some =
        !service.addresses.empty() || std::any_of(service.uses.begin(), service.uses.end(), has_addresses);
    const bool has_all = has_some && !service.is_partial;
    const bool is_waiting = places.is_open && (has_all || places.addresses.empty());
    if (!is_waiting && !places.addresses.empty()) {
        service.addresses = places.addresses;
        service.is_partial = places.is_open;
    }
    if (!service.failure.empty()) {
        settle(sought, service, service.failure);
    } else if (!is_waiting) {
        settle(sought, service, places.addresses.empty() ? "no host of its SRV records has an address" : "");
    }
}

/// An answer is in: the log is told what has changed, the table what there is.
void NameBook::settle(const Sought& sought, Name& name, std::string_view failure)
{
    const bool has_failed = !failure.empty();
    if (name.has_failed && !has_failed) {
        os::log(os::Level::info, "the name resolves again", {{"name", to_text(sought)}});
    } else if (has_failed && !name.has_failed) {
        os::log(os::Level::warning, "a server's name does not resolve",
                {{"name", to_text(sought)}, {"reason", failure}, {"last_addresses_kept", name.addresses.size()}});
    }
    name.has_failed = has_failed;
    const std::size_t excess = name.addresses.size() - std::min<std::size_t>(name.addresses.size(), shm::kMaxAddresses);
    if (excess > name.excess) {
        os::log(os::Level::warning, "a name has more addresses than are used",
                {{"name", to_text(sought)}, {"addresses", name.addresses.size()}, {"used", shm::kMaxAddresses}});
    }
    name.excess = excess;
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
            address.port = use.port != 0 ? use.port : address.port;
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
