// SPDX-License-Identifier: Apache-2.0
#include "worker/worker.h"

#include "common/base/assert.h"
#include "common/loop/loop.h"
#include "common/os/log.h"
#include "worker/client/explain.h"
#include "worker/client/front.h"
#include "worker/drain.h"
#include "worker/net/listeners.h"
#include "worker/role.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <utility>

namespace ladle::worker {

namespace {

class Worker final : public Role {
public:
    explicit Worker(ipc::Inheritance inheritance) : Role(std::move(inheritance), "the worker") {}

private:
    Result<void> init() override;
    void begin() override;
    void on_message(ipc::Message message) override;
    void on_tick() override;
    void on_terminate() override { drain(config_->server.drain_timeout, ipc::DrainRest::leave_to_siblings); }
    void on_master_gone() override;
    void close() override;

    Result<void> open_front();
    void start_listening();
    void on_listener(ipc::Message message);
    void on_prepare(const ipc::Message& message);
    void on_commit(std::uint64_t generation);
    void on_new_logs(ipc::Message message);
    void on_explain(const ipc::Message& message);
    void on_connection(os::Fd socket, const sockaddr_storage& peer, const std::string& bind_text);
    bool has_silent_sibling() const;
    void drain(std::chrono::milliseconds limit, ipc::DrainRest rest);

    std::unique_ptr<Front> front_;
    std::unique_ptr<Listeners> listeners_;
    Drain drain_;
};

std::set<std::string> bind_texts(const config::Config& config)
{
    std::set<std::string> texts;
    for (const config::Listen& listen : config.listens) {
        for (const config::BindAddress& bind : listen.bind) {
            texts.insert(bind.text);
        }
    }
    return texts;
}

Result<void> Worker::init()
{
    if (auto opened = open_front(); !opened) {
        return opened;
    }
    start_listening();
    return {};
}

void Worker::begin()
{
    row_.heartbeat_ns.store(loop::clock_now(), std::memory_order_relaxed);
    row_.state.store(shm::State::ready, std::memory_order_release);
    tell(ipc::MessageType::ready, inherited_.generation);
}

void Worker::close()
{
    listeners_.reset();
    front_.reset();
}

Result<void> Worker::open_front()
{
    FrontParts parts{*loop_,
                     *inherited_.arena,
                     inherited_.row,
                     std::move(inherited_.access_log),
                     std::move(inherited_.spool_directory),
                     inherited_.cache,
                     std::move(inherited_.cache_files),
                     std::move(inherited_.cache_bells),
                     inherited_.disk_index,
                     std::move(inherited_.disk_files)};
    auto front = Front::make(std::move(parts), config_);
    if (!front) {
        return std::unexpected(front.error());
    }
    front_ = std::move(*front);
    front_->set_on_room([](void* self) { static_cast<Worker*>(self)->listeners_->resume(); }, this);
    return {};
}

void Worker::start_listening()
{
    ListenerEvents events;
    events.self = this;
    events.on_connection = [](void* self, os::Fd socket, const sockaddr_storage& peer, const std::string& text) {
        static_cast<Worker*>(self)->on_connection(std::move(socket), peer, text);
    };
    events.on_left = [](void* self, const std::string& text) {
        static_cast<Worker*>(self)->tell(ipc::MessageType::listener_left, 0, text);
    };
    listeners_ = std::make_unique<Listeners>(*loop_, row_, inherited_.number, events, find_wake_up());
    std::set<std::string> texts;
    for (ipc::ListenerSlots& slots : inherited_.listeners) {
        texts.insert(slots.text);
        listeners_->add(std::move(slots));
    }
    inherited_.listeners.clear();
    listeners_->apply(texts);
}

/// With the master goes everybody who could replace us: take what waits, finish, leave.
void Worker::on_master_gone()
{
    os::log(os::Level::warning, "the master is gone: finishing");
    front_->leave_disk();
    drain(config_->server.drain_timeout, ipc::DrainRest::accept);
}

void Worker::on_message(ipc::Message message)
{
    switch (message.type) {
    case ipc::MessageType::listener:
        return on_listener(std::move(message));
    case ipc::MessageType::prepare_config:
        return on_prepare(message);
    case ipc::MessageType::commit_config:
        return on_commit(message.generation);
    case ipc::MessageType::abort_config:
        front_->abort_prepared();
        prepared_.reset();
        return listeners_->drop_pending();
    case ipc::MessageType::join_siblings:
        return listeners_->join_siblings();
    case ipc::MessageType::new_logs:
        return on_new_logs(std::move(message));
    case ipc::MessageType::drain:
        return drain(std::chrono::milliseconds(message.number), static_cast<ipc::DrainRest>(message.generation));
    case ipc::MessageType::stop:
        return stop();
    case ipc::MessageType::explain:
        return on_explain(message);
    default:
        LADLE_ASSERT(!"a message that no master sends");
    }
}

void Worker::on_listener(ipc::Message message)
{
    if (message.number == 1) {
        return listeners_->add_slots(message.text, std::move(message.descriptors));
    }
    listeners_->add(ipc::ListenerSlots{std::move(message.text), std::move(message.descriptors)});
}

void Worker::on_prepare(const ipc::Message& message)
{
    if (drain_.is_started()) {
        return tell(ipc::MessageType::prepared, message.generation); // on our way out with the old one
    }
    auto loaded = load_prepared(message);
    if (!loaded) {
        return;
    }
    if (auto ready = front_->prepare(loaded); !ready) {
        return tell(ipc::MessageType::refused, message.generation, ready.error().detail);
    }
    prepared_ = std::move(loaded);
    tell(ipc::MessageType::prepared, message.generation);
}

void Worker::on_commit(std::uint64_t generation)
{
    if (prepared_) {
        adopt(std::exchange(prepared_, nullptr));
        front_->commit();
        listeners_->apply(bind_texts(*config_));
    }
    tell(ipc::MessageType::committed, generation);
}

void Worker::on_new_logs(ipc::Message message)
{
    const bool has_access = (message.number & 1u) != 0;
    const bool has_error = (message.number & 2u) != 0;
    if (message.descriptors.size() != std::size_t{has_access} + std::size_t{has_error}) {
        return; // lost on the way for want of descriptors: the old ones go on
    }
    os::Fd access = has_access ? std::move(message.descriptors.front()) : os::Fd();
    os::Fd error = has_error ? std::move(message.descriptors.back()) : os::Fd();
    os::set_log_descriptor(error.get());
    inherited_.error_log = std::move(error);
    front_->set_access_log(std::move(access));
}

void Worker::on_explain(const ipc::Message& message)
{
    ipc::Explanation answer;
    if (const auto question = ipc::read_question(message.text)) {
        answer = explain(front_->parts(), front_->live(), *question);
    } else {
        answer.error = question.error();
    }
    tell(ipc::MessageType::explained, config_->generation, ipc::to_text(answer), message.number);
}

void Worker::on_connection(os::Fd socket, const sockaddr_storage& peer, const std::string& bind_text)
{
    front_->adopt_connection(std::move(socket), peer, bind_text);
    if (front_->is_full()) {
        listeners_->pause();
    }
}

void Worker::on_tick()
{
    row_.heartbeat_ns.store(loop::clock_now(), std::memory_order_relaxed);
    front_->on_tick();
    listeners_->on_tick();
    if (has_silent_sibling()) {
        listeners_->sweep_siblings();
    }
    if (drain_.is_started() && drain_.is_over(front_->busy_count(), loop_->now())) {
        stop();
    }
}

bool Worker::has_silent_sibling() const
{
    constexpr loop::Nanos kSilence = 300'000'000; // three heartbeats
    const loop::Nanos now = loop::clock_now();
    for (const shm::ProcessRow& row : inherited_.arena->regions().rows) {
        if (&row != &row_ && row.state.load(std::memory_order_relaxed) == shm::State::ready &&
            row.role.load(std::memory_order_relaxed) == shm::Role::worker &&
            row.heartbeat_ns.load(std::memory_order_relaxed) + kSilence < now) {
            return true;
        }
    }
    return false;
}

void Worker::drain(std::chrono::milliseconds limit, ipc::DrainRest rest)
{
    if (!drain_.start(loop_->now(), limit)) {
        return;
    }
    row_.state.store(shm::State::draining, std::memory_order_relaxed);
    listeners_->leave(rest);
    front_->start_drain();
    if (front_->busy_count() == 0) {
        stop();
    }
}

} // namespace

void run(ipc::Inheritance inheritance)
{
    const std::uint32_t number = inheritance.number;
    live_as<Worker>(std::move(inheritance), fmt::format("ladle: worker {}", number), fmt::format("worker={}", number));
}

} // namespace ladle::worker
