// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/staple_book.h"

#include "common/os/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kLookedAtInTick = 100; // each 50 µs
constexpr std::size_t kMostQuestions = 8;    // at once
constexpr std::size_t kMostResponders = 3;    // of a responder that are tried
constexpr std::chrono::seconds kLimit{10};   // for a question and all of its answer
constexpr std::uint64_t kFirstRetry = 5;
constexpr std::uint64_t kLastRetry = 3600;
constexpr unsigned kMostDoublings = 10;
constexpr std::uint64_t kLeastWait = 5;       // an answer that is good for a moment only is not fetched all the time
constexpr std::uint64_t kMostWait = 12 * 3600; // a revocation is noticed within so long

std::uint64_t now_s()
{
    return static_cast<std::uint64_t>(std::time(nullptr));
}

std::optional<shm::ServerAddress> literal_address(const std::string& host)
{
    shm::ServerAddress address{};
    address.family = AF_INET;
    if (::inet_pton(AF_INET, host.c_str(), address.address.data()) == 1) {
        return address;
    }
    address.family = AF_INET6;
    return ::inet_pton(AF_INET6, host.c_str(), address.address.data()) == 1 ? std::optional(address) : std::nullopt;
}

/// A connection that is made or under way; none = it cannot be.
os::Fd begin_connect(const shm::ServerAddress& address, std::uint16_t port)
{
    os::Fd socket(::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_storage to{};
    socklen_t length = sizeof(sockaddr_in);
    if (address.family == AF_INET) {
        auto& in = reinterpret_cast<sockaddr_in&>(to);
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        std::memcpy(&in.sin_addr, address.address.data(), sizeof in.sin_addr);
    } else {
        auto& in = reinterpret_cast<sockaddr_in6&>(to);
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(port);
        std::memcpy(&in.sin6_addr, address.address.data(), sizeof in.sin6_addr);
        length = sizeof in;
    }
    const bool is_begun =
        socket && (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), length) == 0 || errno == EINPROGRESS);
    return is_begun ? std::move(socket) : os::Fd();
}

} // namespace

StapleBook::StapleBook(loop::Loop& loop, shm::Regions& regions, shm::ProcessRow& row)
    : loop_(loop), regions_(regions), row_(row), resolver_(loop, &StapleBook::on_resolved, this)
{
}

Result<void> StapleBook::follow(std::shared_ptr<const config::Config> config)
{
    if (!has_resolver_) {
        if (auto made = resolver_.init(config->server.resolvers); !made) {
            return made;
        }
        has_resolver_ = true;
    } else if (resolver_.prepare(config->server.resolvers)) {
        resolver_.commit();
    }
    questions_.clear(); // they borrow from the configuration before
    for (auto& [key, subject] : subjects_) {
        subject.is_asking = false;
    }
    config_ = std::move(config);
    to_look_at_.clear();
    found_.clear();
    is_looking_ = true;
    std::set<const char*> seen; // where their texts lie: sites may share files
    for (const config::Site& site : config_->sites) {
        if (!site.tls || !site.tls->staples) {
            continue;
        }
        for (const config::Certificate& certificate : site.tls->certificates) {
            if (seen.insert(certificate.chain.text.data()).second) {
                to_look_at_.push_back(&certificate);
            }
        }
    }
    return {};
}

void StapleBook::look_through_some()
{
    for (std::size_t count = 0; count < kLookedAtInTick && !to_look_at_.empty(); ++count) {
        const config::Certificate* certificate = to_look_at_.back();
        to_look_at_.pop_back();
        if (const std::optional<OcspSubject> subject = OcspSubject::of(*certificate)) {
            found_[subject->key()] = certificate;
        }
    }
    if (to_look_at_.empty()) {
        finish_looking();
    }
}

void StapleBook::finish_looking()
{
    is_looking_ = false;
    std::set<shm::StapleKey> keys;
    std::map<shm::StapleKey, Subject> before = std::exchange(subjects_, {});
    for (const auto& [key, certificate] : std::exchange(found_, {})) {
        keys.insert(key);
        Subject& subject = subjects_[key];
        if (const auto known = before.find(key); known != before.end()) {
            subject = known->second;
        } else if (const std::uint64_t until = shm::staple_until(regions_.staples, key); until > now_s()) {
            put_off(subject, (until - now_s()) / 2); // the caretaker before this one has asked
        }
        subject.certificate = certificate;
    }
    shm::keep_staples(regions_.staples, keys);
}

void StapleBook::on_tick()
{
    if (is_looking_) {
        look_through_some();
    }
    const loop::Nanos now = loop::clock_now();
    for (const auto& question : questions_) {
        if (question->has_news) {
            advance(*question);
        }
        if (question->limit != 0 && now >= question->limit) {
            fail(*question, "it took too long");
        }
    }
    std::erase_if(questions_, [](const auto& question) { return question->limit == 0; });
    if (!is_looking_) {
        ask_what_is_due();
    }
}

void StapleBook::ask_what_is_due()
{
    const std::uint64_t now = now_s();
    for (auto& [key, subject] : subjects_) {
        if (questions_.size() >= kMostQuestions) {
            return;
        }
        if (!subject.is_asking && now >= subject.next_s) {
            ask(key, subject);
        }
    }
}

void StapleBook::ask(const shm::StapleKey& key, Subject& subject)
{
    std::optional<OcspSubject> asked = OcspSubject::of(*subject.certificate);
    if (!asked) {
        return put_off(subject, kLastRetry);
    }
    subject.is_asking = true;
    auto made = std::make_unique<Question>(Question{key, std::move(*asked), loop::clock_now() + loop::to_nanos(kLimit)});
    Question& question = *made;
    questions_.push_back(std::move(made));
    const std::string& host = question.subject.responder().host;
    if (const auto address = literal_address(host)) {
        question.addresses.push_back(*address);
        question.has_news = true;
        return;
    }
    const bool is_asked = std::any_of(questions_.begin(), questions_.end(), [&](const auto& other) {
        return other.get() != &question && !other->exchange && other->limit != 0 && other->addresses.empty() &&
               other->subject.responder().host == host;
    });
    if (!is_asked) {
        resolver_.ask({Sought::Kind::addresses, host});
    }
}

void StapleBook::on_resolved(void* self, Resolution resolution)
{
    auto& book = *static_cast<StapleBook*>(self);
    for (const auto& question : book.questions_) {
        const bool waits = !question->exchange && question->limit != 0 && question->addresses.empty();
        if (!waits || question->subject.responder().host != resolution.sought.name) {
            continue;
        }
        if (!resolution.failure.empty()) {
            book.fail(*question, "its name does not resolve: " + resolution.failure);
            continue;
        }
        const std::size_t count = std::min(resolution.addresses.size(), kMostResponders);
        question->addresses.assign(resolution.addresses.begin(), resolution.addresses.begin() + static_cast<std::ptrdiff_t>(count));
        std::reverse(question->addresses.begin(), question->addresses.end());
        question->has_news = true;
    }
}

bool StapleBook::connect_next(Question& question)
{
    const auto request = question.subject.make_request();
    const auto port = static_cast<std::uint16_t>(std::strtoul(question.subject.responder().port.c_str(), nullptr, 10));
    question.watch.reset();
    question.exchange.reset();
    while (request && !question.addresses.empty()) {
        os::Fd socket = begin_connect(question.addresses.back(), port);
        question.addresses.pop_back();
        question.exchange = socket ? OcspExchange::make(std::move(socket), question.subject.responder(), *request) : nullptr;
        question.watch = std::make_unique<loop::Watch>();
        const auto on_news = [](void* of, loop::Ready) { static_cast<Question*>(of)->has_news = true; };
        if (question.exchange && question.watch->start(loop_, question.exchange->descriptor(), loop::WatchMode::edges, on_news,
                                                       &question)) {
            return true;
        }
        question.watch.reset();
        question.exchange.reset();
    }
    return false;
}

/// Goes on as far as it can.
void StapleBook::advance(Question& question)
{
    question.has_news = false;
    std::string why = "no connection";
    for (;;) {
        if (!question.exchange && !connect_next(question)) {
            return fail(question, why);
        }
        switch (question.exchange->step()) {
        case OcspExchange::State::under_way:
            return;
        case OcspExchange::State::answered:
            return judge(question);
        case OcspExchange::State::failed:
            why = question.exchange->failure();
            question.watch.reset();
            question.exchange.reset();
        }
    }
}

void StapleBook::judge(Question& question)
{
    const OcspResponsePtr answer = question.exchange->take_answer();
    OcspVerdict verdict = question.subject.judge(*answer);
    Subject& subject = subjects_.at(question.key);
    if (verdict.status == OcspVerdict::Status::revoked) {
        shm::withdraw_staple(regions_.staples, question.key);
        os::log(os::Level::error, "a certificate has been revoked by its CA",
                {{"responder", question.subject.responder().host}, {"certificate", question.subject.name()}});
        row_.add(shm::Metric::ocsp_failed);
        put_off(subject, kLastRetry);
    } else if (verdict.status != OcspVerdict::Status::good) {
        return fail(question, verdict.why);
    } else if (!shm::publish_staple(regions_.staples, question.key, verdict.answer, verdict.good_until_s)) {
        return fail(question, "the answer is too large, or there are too many certificates");
    } else {
        if (silent_.erase(question.subject.responder().host) != 0) {
            os::log(os::Level::info, "an OCSP responder answers again", {{"responder", question.subject.responder().host}});
        }
        row_.add(shm::Metric::ocsp_fetched);
        subject.failures = 0;
        put_off(subject, (verdict.good_until_s - std::min(verdict.good_until_s, now_s())) / 2);
    }
    question.limit = 0;
}

void StapleBook::fail(Question& question, const std::string& why)
{
    const OcspResponder& responder = question.subject.responder();
    if (silent_.insert(responder.host).second) { // once for all certificates of a CA
        os::log(os::Level::warning, "no OCSP answer that can be shown",
                {{"responder", responder.host}, {"certificate", question.subject.name()}, {"reason", why}});
    }
    row_.add(shm::Metric::ocsp_failed);
    Subject& subject = subjects_.at(question.key);
    put_off(subject, std::min(kLastRetry, kFirstRetry << std::min(subject.failures++, kMostDoublings)));
    question.limit = 0;
}

void StapleBook::put_off(Subject& subject, std::uint64_t seconds)
{
    subject.is_asking = false;
    subject.next_s = now_s() + std::clamp(seconds, kLeastWait, kMostWait);
}

} // namespace ladle::worker
