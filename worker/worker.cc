// SPDX-License-Identifier: Apache-2.0
#include "worker/worker.h"

#include "common/base/assert.h"
#include "common/config/bundle.h"
#include "common/ipc/messages.h"
#include "common/loop/loop.h"
#include "common/os/log.h"
#include "common/os/process.h"
#include "worker/client/front.h"
#include "worker/drain.h"
#include "worker/net/listeners.h"

#include <fmt/format.h>

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::chrono::milliseconds kLastWords{200}; // for log lines to get out when the process ends

shm::ProcessRow* g_row = nullptr;

void leave_note(const char* text) noexcept
{
    std::snprintf(g_row->note, sizeof g_row->note, "%s", text);
    os::finish_log(kLastWords);
}

class Worker {
public:
    explicit Worker(ipc::Inheritance inheritance)
        : inherited_(std::move(inheritance)), row_(inherited_.arena->regions().rows[inherited_.row])
    {
    }

    /// The exit status.
    int run();

private:
    Result<void> init();
    Result<void> load_configuration();
    Result<void> open_front();
    void start_listening();
    Result<void> watch_signals();
    static void on_channel(void* self, loop::Ready);
    void on_message(ipc::Message message);
    void on_listener(ipc::Message message);
    void on_prepare(ipc::Message message);
    void on_commit(std::uint64_t generation);
    void on_new_logs(ipc::Message message);
    void on_connection(os::Fd socket, const sockaddr_storage& peer, const std::string& bind_text);
    void on_tick();
    bool has_silent_sibling() const;
    void drain(std::chrono::milliseconds limit, ipc::DrainRest rest);
    void stop() { loop_->stop(); }

    void adopt(std::shared_ptr<const config::Config> config);
    void tell(ipc::MessageType type, std::uint64_t generation, std::string text = {});

    ipc::Inheritance inherited_;
    shm::ProcessRow& row_;
    std::unique_ptr<loop::Loop> loop_;
    loop::Watch channel_;
    loop::Signal terminate_;
    std::shared_ptr<const config::Config> config_;
    std::shared_ptr<const config::Config> prepared_;
    std::set<std::string> bind_texts_; ///< of config_
    std::unique_ptr<Front> front_;
    std::unique_ptr<Listeners> listeners_;
    Drain drain_;
};

int Worker::run()
{
    if (auto started = init(); !started) {
        os::log(os::Level::error, "the worker cannot start", {{"reason", started.error().detail}});
        tell(ipc::MessageType::refused, inherited_.generation, started.error().detail);
        return 1;
    }
    loop_->run();
    channel_.stop();
    listeners_.reset();
    front_.reset();
    return 0;
}

Result<void> Worker::init()
{
    g_row = &row_;
    set_assert_note(&leave_note);
    if (auto dropped = os::drop_privileges(inherited_.uid, inherited_.gid, inherited_.master_pid, SIGTERM); !dropped) {
        return dropped;
    }
    os::start_log_buffer();
    auto loop = loop::Loop::make();
    if (!loop) {
        return std::unexpected(loop.error());
    }
    loop_ = std::move(*loop);
    if (auto watching = watch_signals(); !watching) {
        return watching;
    }
    if (auto loaded = load_configuration(); !loaded) {
        return loaded;
    }
    if (auto opened = open_front(); !opened) {
        return opened;
    }
    start_listening();
    auto watching = channel_.start(*loop_, inherited_.control.get(), loop::WatchMode::level_read, &Worker::on_channel, this);
    if (!watching) {
        return watching;
    }
    loop_->set_tick([](void* self) { static_cast<Worker*>(self)->on_tick(); }, this);
    row_.heartbeat_ns.store(loop::clock_now(), std::memory_order_relaxed);
    row_.state.store(shm::State::ready, std::memory_order_release);
    tell(ipc::MessageType::ready, inherited_.generation);
    return {};
}

Result<void> Worker::load_configuration()
{
    config::LoadResult loaded = config::load_bundle(inherited_.bundle.get());
    inherited_.bundle.reset();
    if (!loaded.config) {
        return fail(Origin::local, "the configuration bundle is not good: " + config::to_text(loaded.diagnostics));
    }
    adopt(std::move(loaded.config));
    return {};
}

Result<void> Worker::open_front()
{
    FrontParts parts{*loop_,
                     *inherited_.arena,
                     inherited_.row,
                     std::move(inherited_.access_log),
                     std::move(inherited_.spool_directory)};
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
    listeners_ = std::make_unique<Listeners>(*loop_, row_, inherited_.number, events, find_wake_up(*loop_));
    std::set<std::string> texts;
    for (ipc::ListenerSlots& slots : inherited_.listeners) {
        texts.insert(slots.text);
        listeners_->add(std::move(slots));
    }
    inherited_.listeners.clear();
    listeners_->apply(texts);
}

Result<void> Worker::watch_signals()
{
    // A terminal sends these to the whole group; the master decides what they mean and tells us.
    for (const int number : {SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
        ::signal(number, SIG_IGN);
    }
    const auto on_terminate = [](void* self, int) {
        auto& worker = *static_cast<Worker*>(self);
        worker.drain(worker.config_->server.drain_timeout, ipc::DrainRest::leave_to_siblings);
    };
    return terminate_.start(*loop_, SIGTERM, on_terminate, this);
}

void Worker::on_channel(void* self, loop::Ready)
{
    auto& worker = *static_cast<Worker*>(self);
    for (;;) {
        auto message = ipc::receive(worker.inherited_.control.get());
        if (message) {
            worker.on_message(std::move(*message));
            continue;
        }
        if (message.error().code == EAGAIN) {
            return;
        }
        // The master is gone, and with it everybody who could replace us: take what waits, finish, leave.
        os::log(os::Level::warning, "the master is gone: finishing");
        worker.channel_.stop();
        worker.drain(worker.config_->server.drain_timeout, ipc::DrainRest::accept);
        return;
    }
}

void Worker::on_message(ipc::Message message)
{
    switch (message.type) {
    case ipc::MessageType::listener:
        return on_listener(std::move(message));
    case ipc::MessageType::prepare_config:
        return on_prepare(std::move(message));
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

void Worker::on_prepare(ipc::Message message)
{
    LADLE_ASSERT(message.descriptors.size() == 1);
    if (drain_.is_started()) {
        return tell(ipc::MessageType::prepared, message.generation); // on our way out with the old one
    }
    config::LoadResult loaded = config::load_bundle(message.descriptors[0].get());
    if (!loaded.config) {
        return tell(ipc::MessageType::refused, message.generation, config::to_text(loaded.diagnostics));
    }
    if (auto ready = front_->prepare(loaded.config); !ready) {
        return tell(ipc::MessageType::refused, message.generation, ready.error().detail);
    }
    prepared_ = std::move(loaded.config);
    tell(ipc::MessageType::prepared, message.generation);
}

void Worker::on_commit(std::uint64_t generation)
{
    if (prepared_) {
        adopt(std::exchange(prepared_, nullptr));
        front_->commit();
        listeners_->apply(bind_texts_);
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
    if (drain_.is_started() && drain_.is_over(front_->connection_count(), loop_->now())) {
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
    if (front_->connection_count() == 0) {
        stop();
    }
}

void Worker::adopt(std::shared_ptr<const config::Config> config)
{
    config_ = std::move(config);
    bind_texts_.clear();
    for (const config::Listen& listen : config_->listens) {
        for (const config::BindAddress& bind : listen.bind) {
            bind_texts_.insert(bind.text);
        }
    }
    row_.config_generation.store(config_->generation, std::memory_order_relaxed);
    os::set_log_level(static_cast<os::Level>(config_->log.error_level));
}

void Worker::tell(ipc::MessageType type, std::uint64_t generation, std::string text)
{
    ipc::Message message;
    message.type = type;
    message.generation = generation;
    message.text = std::move(text);
    // A master that is gone shows as the end of the channel.
    std::ignore = ipc::send(inherited_.control.get(), message);
}

} // namespace

void run(ipc::Inheritance inheritance)
{
    os::set_title(fmt::format("ladle: worker {}", inheritance.number));
    os::set_log_descriptor(inheritance.error_log.get());
    os::set_log_origin(fmt::format("worker={}", inheritance.number));
    int status = 0;
    {
        Worker worker(std::move(inheritance));
        status = worker.run();
    }
    os::finish_log(kLastWords);
    ::_exit(status);
}

} // namespace ladle::worker
