// SPDX-License-Identifier: Apache-2.0
#include "master/explainer.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace ladle::master {

namespace {

constexpr std::size_t kMostText = 60'000; // what a message takes
constexpr int kTicks = 4;                 // the first may come at once

} // namespace

void Explainer::fail(ControlServer::Id id, const std::string& why)
{
    control_.answer(id, {{"ok", false}, {"message", why}});
}

void Explainer::ask(ControlServer::Id id, const nlohmann::json& request)
{
    const auto question = request.find("question");
    std::string text = question == request.end() ? std::string() : question->dump();
    if (asked_.size() >= kMost || text.size() > kMostText) {
        return fail(id, text.size() > kMostText ? "this is too long to ask" : "too many ask at once");
    }
    put(id, std::move(text), false);
}

void Explainer::put(ControlServer::Id id, std::string text, bool is_again)
{
    const auto is_fit = [&](const auto& child) {
        return child->role == shm::Role::worker && child->phase == Child::Phase::ready && supervisor_.is_current(*child);
    };
    ipc::Message message;
    message.type = ipc::MessageType::explain;
    message.number = ++last_number_;
    message.text = std::move(text);
    for (const auto& child : supervisor_.children()) {
        if (!is_fit(child)) {
            continue;
        }
        const auto sent = ipc::send(child->channel.get(), message);
        if (sent) {
            asked_[message.number] = {id, child->pid, kTicks, std::move(message.text), is_again};
            return;
        }
        if (!ipc::is_peer_dead(sent.error())) {
            return fail(id, name_of(*child) + " does not take messages");
        }
    }
    fail(id, "no worker is there to be asked");
}

void Explainer::on_message(const Child&, const ipc::Message& message)
{
    const auto asked = asked_.find(message.number);
    if (asked == asked_.end()) {
        return; // too late
    }
    const ControlServer::Id id = asked->second.id;
    asked_.erase(asked);
    const nlohmann::json answer = parse_json(message.text);
    if (!answer.is_object()) {
        return fail(id, "the answer is too long");
    }
    control_.answer(id, answer);
}

void Explainer::on_exit(const Child& child)
{
    std::vector<Asked> unanswered;
    std::erase_if(asked_, [&](auto& entry) {
        const bool was_asked = entry.second.worker == child.pid;
        if (was_asked) {
            unanswered.push_back(std::move(entry.second));
        }
        return was_asked;
    });
    for (Asked& one : unanswered) {
        if (one.is_again) {
            fail(one.id, name_of(child) + " ended without an answer"); // it may be the question that they die of
        } else {
            put(one.id, std::move(one.text), true);
        }
    }
}

void Explainer::on_tick()
{
    for (auto entry = asked_.begin(); entry != asked_.end();) {
        const auto asked = entry++;
        if (--asked->second.ticks_left == 0) {
            fail(asked->second.id, "the worker that was asked does not answer");
            asked_.erase(asked);
        }
    }
}

} // namespace ladle::master
