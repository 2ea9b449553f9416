// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/agent_book.h"

#include "common/os/log.h"
#include "common/shm/server_agent.h"
#include "worker/upstream/agent_reply.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace ladle::worker {

struct AgentBook::Subject {
    const config::Upstream* upstream;
    const config::UpstreamServer* server;
    shm::ServerEntry* entry;
    std::uint64_t check;
    loop::Nanos next = 0;
    std::shared_ptr<CheckSource> source{}; ///< of the question; before it, as it goes after it
    std::unique_ptr<Probe> question{};     ///< null = it is not being asked
};

namespace {

/// Of a named server: the lowest of those that are not down, so that it is no other one when DNS turns the order round.
std::optional<sockaddr_storage> address_of_name(const shm::ServerEntry& entry)
{
    const std::vector<shm::ServerAddress> all = shm::copy_addresses(entry);
    const auto rank = [](const shm::ServerAddress& one) { return std::tie(one.is_down, one.family, one.address, one.port); };
    const auto best = std::min_element(all.begin(), all.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    return best == all.end() ? std::nullopt : std::optional(shm::to_socket_address(*best));
}

} // namespace

AgentBook::AgentBook(loop::Loop& loop, shm::Regions& regions, shm::ProcessRow& row) : loop_(loop), regions_(regions), row_(row)
{
}

AgentBook::~AgentBook() = default;

void AgentBook::follow(std::shared_ptr<const config::Config> config)
{
    source_ = std::make_shared<CheckSource>(std::move(config), row_);
    std::vector<std::unique_ptr<Subject>> before = std::exchange(subjects_, {});
    const loop::Nanos now = loop::clock_now();
    questions_ = 0;
    for (const config::Upstream& upstream : source_->config->upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            const int index = shm::find_server(regions_.servers, upstream.name, server.text);
            if (index < 0) {
                continue;
            }
            shm::ServerEntry& entry = regions_.servers.entries[index];
            const std::uint64_t check = upstream.agent ? upstream.agent->fingerprint : 0;
            shm::begin_agent(entry.health, check);
            if (check == 0) {
                continue;
            }
            const auto known = std::find_if(before.begin(), before.end(),
                                            [&](const auto& one) { return one && one->entry == &entry && one->check == check; });
            auto subject = known != before.end() ? std::move(*known) : std::make_unique<Subject>();
            subject->upstream = &upstream;
            subject->server = &server;
            subject->entry = &entry;
            subject->check = check;
            // What was planned holds, by a caretaker before this one too, unless the interval is shorter now; new ones are asked at
            // once.
            subject->next = std::min(entry.health.next_agent_ns.load(std::memory_order_relaxed),
                                     now + loop::to_nanos(upstream.agent->interval));
            questions_ += subject->question ? 1 : 0;
            subjects_.push_back(std::move(subject));
        }
    }
}

void AgentBook::on_tick()
{
    const loop::Nanos now = loop::clock_now();
    for (const auto& subject : subjects_) {
        if (subject->question && subject->question->is_done()) {
            take_answer(*subject, now);
        }
    }
    std::size_t looked = 0;
    for (; looked < subjects_.size() && questions_ < kMostQuestions; ++looked) {
        Subject& subject = *subjects_[(first_ + looked) % subjects_.size()];
        if (!subject.question && now >= subject.next) {
            ask(subject, now);
        }
    }
    first_ = subjects_.empty() ? 0 : (first_ + looked) % subjects_.size(); // the next turn begins with those that had none
}

void AgentBook::ask(Subject& subject, loop::Nanos now)
{
    const config::HealthCheck& agent = *subject.upstream->agent;
    subject.next = clock_.next_after(now, agent.interval);
    subject.entry->health.next_agent_ns.store(subject.next, std::memory_order_relaxed);
    const bool is_named = !subject.server->host_name.empty();
    const auto address = is_named ? address_of_name(*subject.entry) : std::optional(subject.server->address);
    if (!address) {
        return fail(subject, shm::CheckEnd::unresolved, "the server's name has no address", now);
    }
    subject.source = source_;
    subject.question =
        std::make_unique<Probe>(loop_, row_, source_->connector, question_to(*subject.upstream, *subject.server, agent, *address));
    ++questions_;
    subject.question->start();
}

void AgentBook::take_answer(Subject& subject, loop::Nanos now)
{
    const std::unique_ptr<Probe> question = std::move(subject.question);
    --questions_;
    if (question->end() == shm::CheckEnd::none) {
        return log_unmade(*subject.upstream, *subject.server, *question);
    }
    if (question->end() != shm::CheckEnd::good) {
        return fail(subject, question->end(), question->detail(), now);
    }
    const auto reply = parse_agent_reply(question->text());
    if (!reply) {
        return fail(subject, shm::CheckEnd::malformed, reply.error(), now);
    }
    row_.add(shm::Metric::server_agent_checks);
    shm::ServerHealth& health = subject.entry->health;
    const std::uint64_t before = health.agent.load(std::memory_order_relaxed);
    const auto last = static_cast<shm::CheckEnd>(health.agent_recent.load(std::memory_order_relaxed) & 0xff);
    if (last != shm::CheckEnd::good && last != shm::CheckEnd::none) {
        os::log(os::Level::info, "the agent of a server answers again",
                {{"upstream", subject.upstream->name}, {"server", subject.server->text}});
    }
    std::ignore = shm::add_agent_answer(health, reply->word, reply->description, now);
    const std::uint64_t word = health.agent.load(std::memory_order_relaxed);
    const bool is_out = shm::is_kept_out(word);
    if (is_out != shm::is_kept_out(before)) {
        os::log(is_out ? os::Level::warning : os::Level::info,
                is_out ? "the agent of a server takes it out" : "the agent of a server lets it back",
                {{"upstream", subject.upstream->name},
                 {"server", subject.server->text},
                 {"says", shm::describe(shm::unpack_agent(word), reply->description)}});
    }
}

/// A warning when it begins; status and the metric tell that it goes on.
void AgentBook::fail(Subject& subject, shm::CheckEnd end, std::string_view why, loop::Nanos now)
{
    row_.add(shm::Metric::server_agent_checks);
    row_.add(shm::Metric::server_agent_failed);
    shm::ServerHealth& health = subject.entry->health;
    if (static_cast<shm::CheckEnd>(health.agent_recent.load(std::memory_order_relaxed) & 0xff) != end) {
        os::log(os::Level::warning, "the agent of a server gives no answer that can be used: what it said before holds",
                {{"upstream", subject.upstream->name}, {"server", subject.server->text}, {"reason", why}});
    }
    shm::add_agent_failure(health, end, why, now);
}

} // namespace ladle::worker
