// SPDX-License-Identifier: Apache-2.0
#include "worker/tls/device.h"

#include "common/os/log.h"
#include "common/os/socket.h"
#include "worker/tls/signer.h"

#include <openssl/async.h>

#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>
extern "C" { // glibc 2.36 forgot it
#include <sys/pidfd.h>
}

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kDevicePatience = 5'000'000'000; // a device that signs takes less; a handshake has more
constexpr loop::Nanos kDevicePause = 1'000'000'000;    // after a failure
constexpr std::string_view kFailure = "the device that keeps the key made no signature";

void complain(std::string_view reason)
{
    os::log(os::Level::error, "a device that keeps private keys does not work", {{"reason", reason}});
}

/// Starts this binary as a signer with that channel; -1 and errno where it cannot be.
pid_t spawn_signer(int channel)
{
    ::signal(SIGCHLD, SIG_IGN); // it is nobody's to wait for; the end of the channel says enough
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, channel, kSignerChannel);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    std::string title = "ladle: signer";
    std::string argument = kSignerArgument;
    char* const arguments[] = {title.data(), argument.data(), nullptr};
    pid_t pid = -1;
    const int code = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    errno = code;
    return code == 0 ? pid : -1;
}

} // namespace

KeyDevice::~KeyDevice()
{
    lose_signer();
}

std::string KeyDevice::pin() const
{
    if (!settings_.pin_variable.empty()) {
        const char* value = std::getenv(settings_.pin_variable.c_str());
        return value != nullptr ? value : "";
    }
    const std::string_view text = settings_.pin.text;
    return std::string(text.substr(0, text.find_first_of("\r\n")));
}

bool KeyDevice::start(loop::Loop& loop)
{
    if (loop.now() < not_before_) {
        return false;
    }
    not_before_ = loop.now() + kDevicePause;
    has_complained_ = false;
    auto channel = os::make_channel();
    const pid_t pid = channel ? spawn_signer(channel->second.get()) : -1;
    if (pid < 0) {
        complain(channel ? strerrordesc_np(errno) : channel.error().detail);
        return false;
    }
    process_ = os::Fd(::pidfd_open(pid, 0));
    channel_ = std::move(channel->first);
    patience_.emplace(loop, &KeyDevice::on_patience_over, this);
    std::string setup;
    for (const std::string& text : {settings_.engine, settings_.module, pin()}) {
        setup += text;
        setup += '\0';
    }
    const auto watching = watch_.start(loop, channel_.get(), loop::WatchMode::level_read, &KeyDevice::on_answers, this);
    const bool is_sent = watching && ::send(channel_.get(), setup.data(), setup.size(), MSG_NOSIGNAL) >= 0;
    ::explicit_bzero(setup.data(), setup.size());
    if (!is_sent) {
        lose_signer();
    }
    return is_sent;
}

bool KeyDevice::send_request(std::uint64_t number, const std::string& uri, SignAlgorithm algorithm, std::string_view bytes)
{
    const SignRequest request{number, algorithm, static_cast<std::uint32_t>(uri.size())};
    std::string out(reinterpret_cast<const char*>(&request), sizeof request);
    out += uri;
    out += bytes;
    return out.size() <= kMostSignerMessage && ::send(channel_.get(), out.data(), out.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/// Between pauses the loop runs, and with it whatever ends the signer or the handshake.
bool KeyDevice::await(HandshakeJob& job, std::uint64_t number, std::string& signature)
{
    Waiting waiting{job};
    waiting_[number] = &waiting;
    while (!waiting.is_answered && !job.is_given_up) {
        ASYNC_pause_job();
    }
    waiting_.erase(number);
    signature = std::move(waiting.signature);
    return waiting.is_made;
}

bool KeyDevice::sign(const std::string& uri, SignAlgorithm algorithm, std::string_view bytes, std::string& signature)
{
    HandshakeJob* const job = HandshakeJob::running;
    if (job == nullptr || ASYNC_get_current_job() == nullptr) {
        return false;
    }
    const std::uint64_t number = ++last_number_;
    const bool is_asked = (channel_ || start(job->loop)) && send_request(number, uri, algorithm, bytes);
    if (is_asked && waiting_.empty()) {
        patience_->set(job->loop.now() + kDevicePatience);
    }
    if (is_asked && await(*job, number, signature)) {
        row_.add(shm::Metric::tls_device_signatures);
        return true;
    }
    row_.add(shm::Metric::tls_device_failures, job->is_given_up ? 0 : 1);
    job->failure = kFailure;
    return false;
}

void KeyDevice::on_answers(void* self, loop::Ready)
{
    auto& device = *static_cast<KeyDevice*>(self);
    char bytes[kMostSignerMessage];
    for (;;) {
        const ssize_t n = ::recv(device.channel_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
        if (n > 0) {
            device.take({bytes, static_cast<std::size_t>(n)});
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            if (!device.has_complained_) {
                complain("the process that speaks to it has ended");
            }
            return device.lose_signer();
        } else {
            return;
        }
    }
}

void KeyDevice::take(std::string_view answer)
{
    SignAnswer head{};
    if (answer.size() < sizeof head) {
        return;
    }
    std::memcpy(&head, answer.data(), sizeof head);
    answer.remove_prefix(sizeof head);
    if (head.is_made == 0) {
        complain(answer);
        has_complained_ = true;
    }
    patience_->set(waiting_.size() > 1 ? patience_->at() + kDevicePatience : loop::kNever);
    const auto found = waiting_.find(head.number);
    if (found != waiting_.end()) { // else the handshake was given up
        Waiting& waiting = *found->second;
        waiting.is_answered = true;
        waiting.is_made = head.is_made != 0;
        waiting.signature = answer;
        waiting.job.socket.tell_news();
    }
}

void KeyDevice::on_patience_over(void* self)
{
    auto& device = *static_cast<KeyDevice*>(self);
    complain("it does not answer");
    device.lose_signer();
}

void KeyDevice::lose_signer()
{
    watch_.stop();
    channel_.reset();
    if (process_) {
        ::pidfd_send_signal(process_.get(), SIGKILL, nullptr, 0);
        process_.reset();
    }
    if (patience_) {
        patience_->clear();
    }
    for (auto& [number, waiting] : waiting_) {
        waiting->is_answered = true;
        waiting->job.socket.tell_news();
    }
}

} // namespace ladle::worker
