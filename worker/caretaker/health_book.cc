// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/health_book.h"

#include "common/os/log.h"
#include "common/os/socket.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace ladle::worker {

/// One question to each address of a server.
struct HealthBook::Round {
    std::shared_ptr<CheckSource> source;
    std::vector<shm::ServerAddress> places; ///< of a named server, in the order of `probes`
    std::vector<std::unique_ptr<Probe>> probes;
};

/// What is known of one address of a named server.
struct HealthBook::Address {
    shm::ServerAddress place;
    bool is_down;
    std::uint32_t in_row; ///< results that speak against that
};

struct HealthBook::Subject {
    const config::Upstream* upstream;
    const config::UpstreamServer* server;
    shm::ServerEntry* entry;
    std::uint64_t check;
    loop::Nanos next = 0;
    std::unique_ptr<Round> round; ///< null = nobody is being asked
    std::vector<Address> addresses;
};

namespace {

/// What a check that there is no more has found: nobody else would take it back.
void clear_addresses(shm::ServerEntry& entry)
{
    const std::vector<shm::ServerAddress> known = shm::copy_addresses(entry);
    if (std::any_of(known.begin(), known.end(), [](const shm::ServerAddress& one) { return one.is_down != 0; })) {
        std::ignore = shm::publish_down(entry, 0);
    }
}

} // namespace

HealthBook::HealthBook(loop::Loop& loop, shm::Regions& regions, shm::ProcessRow& row) : loop_(loop), regions_(regions), row_(row)
{
}

HealthBook::~HealthBook() = default;

void HealthBook::follow(std::shared_ptr<const config::Config> config)
{
    source_ = std::make_shared<CheckSource>(std::move(config), row_);
    std::vector<std::unique_ptr<Subject>> before = std::exchange(subjects_, {});
    const loop::Nanos now = loop::clock_now();
    for (const config::Upstream& upstream : source_->config->upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            const int index = shm::find_server(regions_.servers, upstream.name, server.text);
            if (index < 0) {
                continue;
            }
            shm::ServerEntry& entry = regions_.servers.entries[index];
            const std::uint64_t check = upstream.health ? upstream.health->fingerprint : 0;
            shm::begin_check(entry.health, check);
            if (check == 0) {
                clear_addresses(entry);
                continue;
            }
            const auto known = std::find_if(before.begin(), before.end(),
                                            [&](const auto& one) { return one && one->entry == &entry && one->check == check; });
            if (known != before.end()) {
                (*known)->upstream = &upstream;
                (*known)->server = &server;
                subjects_.push_back(std::move(*known));
                continue;
            }
            auto subject = std::make_unique<Subject>(Subject{&upstream, &server, &entry, check});
            // What a caretaker before this one has planned holds; new servers are asked at once.
            subject->next = std::min(entry.health.next_check_ns.load(std::memory_order_relaxed),
                                     now + loop::to_nanos(upstream.health->interval));
            subjects_.push_back(std::move(subject));
        }
    }
    probes_ = 0;
    for (const auto& subject : subjects_) {
        probes_ += subject->round ? subject->round->probes.size() : 0;
    }
}

void HealthBook::on_tick()
{
    const loop::Nanos now = loop::clock_now();
    for (const auto& subject : subjects_) {
        const auto is_done = [](const auto& probe) { return probe->is_done(); };
        if (subject->round && std::all_of(subject->round->probes.begin(), subject->round->probes.end(), is_done)) {
            finish_round(*subject, now);
        }
    }
    std::size_t looked = 0;
    for (; looked < subjects_.size() && probes_ < kMostProbes; ++looked) {
        Subject& subject = *subjects_[(first_ + looked) % subjects_.size()];
        if (!subject.round && now >= subject.next) {
            begin_round(subject, now);
        }
    }
    first_ = subjects_.empty() ? 0 : (first_ + looked) % subjects_.size(); // the next turn begins with those that had none
}

void HealthBook::begin_round(Subject& subject, loop::Nanos now)
{
    const config::HealthCheck& check = *subject.upstream->health;
    subject.next = clock_.next_after(now, check.interval);
    subject.entry->health.next_check_ns.store(subject.next, std::memory_order_relaxed);
    subject.round = std::make_unique<Round>();
    Round& round = *subject.round;
    round.source = source_;
    std::vector<Probe::Subject> asked;
    if (subject.server->host_name.empty()) {
        asked.push_back(question_to(*subject.upstream, *subject.server, check, subject.server->address));
    } else {
        round.places = shm::copy_addresses(*subject.entry);
        for (const shm::ServerAddress& place : round.places) {
            asked.push_back(question_to(*subject.upstream, *subject.server, check, shm::to_socket_address(place)));
        }
    }
    for (const Probe::Subject& one : asked) {
        round.probes.push_back(std::make_unique<Probe>(loop_, row_, source_->connector, one));
        round.probes.back()->start();
    }
    probes_ += round.probes.size();
}

void HealthBook::finish_round(Subject& subject, loop::Nanos now)
{
    const std::unique_ptr<Round> round = std::move(subject.round);
    const config::HealthCheck& check = *subject.upstream->health;
    probes_ -= round->probes.size();
    shm::CheckEnd end = round->probes.empty() ? shm::CheckEnd::unresolved : shm::CheckEnd::good;
    std::string why = round->probes.empty() ? "its name has no address" : "";
    bool has_good = false;
    bool has_unknown = false;
    const std::vector<Address> before = std::exchange(subject.addresses, {});
    const auto as_known = [&before](const shm::ServerAddress& place) {
        const auto known =
            std::find_if(before.begin(), before.end(), [&](const Address& one) { return one.place.is_same_place(place); });
        return known != before.end() ? *known : Address{place, place.is_down != 0, 0};
    };
    for (std::size_t i = 0; i < round->probes.size(); ++i) {
        const Probe& probe = *round->probes[i];
        const bool has_place = i < round->places.size(); // a literal address is as its server is
        if (probe.end() == shm::CheckEnd::none) {
            has_unknown = true;
            log_unmade(*subject.upstream, *subject.server, probe);
            if (has_place) {
                subject.addresses.push_back(as_known(round->places[i]));
            }
            continue;
        }
        const bool is_good = probe.end() == shm::CheckEnd::good;
        has_good |= is_good;
        row_.add(shm::Metric::server_checks);
        row_.add(shm::Metric::server_checks_failed, is_good ? 0 : 1);
        if (!is_good) {
            end = probe.end();
            why = probe.detail();
        }
        if (!has_place) {
            continue;
        }
        Address address = as_known(round->places[i]);
        address.in_row = is_good == address.is_down ? address.in_row + 1 : 0;
        if (address.in_row >= (address.is_down ? check.rise : check.fall)) {
            address.is_down = !address.is_down;
            address.in_row = 0;
            os::log(address.is_down ? os::Level::warning : os::Level::info,
                    address.is_down ? "an address of a server is down" : "an address of a server is up again",
                    {{"upstream", subject.upstream->name},
                     {"server", subject.server->text},
                     {"address", os::to_text(shm::to_socket_address(address.place), sizeof(sockaddr_storage))},
                     {"reason", is_good ? "" : probe.detail()}});
        }
        subject.addresses.push_back(address);
    }
    publish_addresses(subject);
    if (has_unknown && !has_good) {
        return; // the address that could not be asked may be well
    }
    if (!why.empty()) {
        shm::write_note(subject.entry->health.note, why);
    }
    const bool has_changed =
        shm::add_check(subject.entry->health, has_good ? shm::CheckEnd::good : end, {check.rise, check.fall}, now);
    if (has_changed && has_good) {
        os::log(os::Level::info, "a server is up again", {{"upstream", subject.upstream->name}, {"server", subject.server->text}});
    } else if (has_changed) {
        os::log(os::Level::warning, "a server is down",
                {{"upstream", subject.upstream->name}, {"server", subject.server->text}, {"reason", why}});
    }
}

/// Marks the addresses in the table, where something differs. While another caretaker writes there, the next round does it.
void HealthBook::publish_addresses(Subject& subject)
{
    const std::vector<shm::ServerAddress> published = shm::copy_addresses(*subject.entry);
    std::uint32_t is_down = 0;
    bool differs = false;
    for (std::size_t i = 0; i < published.size(); ++i) {
        const auto known = std::find_if(subject.addresses.begin(), subject.addresses.end(),
                                        [&](const Address& one) { return one.place.is_same_place(published[i]); });
        const bool is_so = known != subject.addresses.end() && known->is_down;
        is_down |= (is_so ? 1u : 0u) << i;
        differs |= is_so != (published[i].is_down != 0);
    }
    if (differs) {
        std::ignore = shm::publish_down(*subject.entry, is_down);
    }
}

} // namespace ladle::worker
