// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/service_records.h"

#include "common/config/names.h"

#include <ares.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>

namespace ladle::worker {

namespace {

constexpr std::uint16_t kTypeCname = 5;
/// A weight is shared by the addresses of its target: 240 can be divided by most numbers of them, and what is left of a weight of 0
/// is the "very small chance" that RFC 2782 gives it.
constexpr std::uint32_t kWeightUnit = 240;

/// Goes through a DNS message; once something does not fit, nothing more is read.
class MessageReader {
public:
    explicit MessageReader(std::span<const unsigned char> message) : message_(message) {}

    bool is_good() const { return is_good_; }
    std::size_t at() const { return at_; }

    void skip(std::size_t bytes)
    {
        is_good_ = is_good_ && bytes <= message_.size() - at_;
        at_ += is_good_ ? bytes : 0;
    }

    std::uint32_t number(std::size_t bytes)
    {
        const std::size_t from = at_;
        skip(bytes);
        std::uint32_t value = 0;
        for (std::size_t i = from; i < at_; ++i) {
            value = value << 8 | message_[i];
        }
        return value;
    }

    std::uint16_t number16() { return static_cast<std::uint16_t>(number(2)); }

    std::string name()
    {
        char* text = nullptr;
        long length = 0;
        if (!is_good_ || ares_expand_name(message_.data() + at_, message_.data(), static_cast<int>(message_.size()), &text,
                                          &length) != ARES_SUCCESS) {
            is_good_ = false;
            return {};
        }
        std::string out(text);
        ares_free_string(text);
        skip(static_cast<std::size_t>(length));
        return out;
    }

private:
    std::span<const unsigned char> message_;
    std::size_t at_ = 0;
    bool is_good_ = true;
};

/// The record that begins there, behind its length; nullopt = it is of no use.
std::optional<ServiceRecord> read_record(MessageReader& reader, bool& is_refused)
{
    ServiceRecord record{reader.number16(), reader.number16(), reader.number16(), reader.name()};
    is_refused |= reader.is_good() && record.target.empty(); // the root, "."
    record.target = config::normalise_host(record.target);
    if (!reader.is_good() || record.port == 0 || !config::is_host_name(record.target) ||
        config::looks_like_ipv4(record.target)) {
        return std::nullopt;
    }
    return record;
}

void sort_and_cut(ServiceAnswer& answer)
{
    std::sort(answer.records.begin(), answer.records.end(), [](const ServiceRecord& a, const ServiceRecord& b) {
        return std::tie(a.priority, b.weight, a.target, a.port) < std::tie(b.priority, a.weight, b.target, b.port);
    });
    answer.records.erase(std::unique(answer.records.begin(), answer.records.end()), answer.records.end());
    if (answer.records.size() > kMostServiceRecords) {
        answer.left_out = answer.records.size() - kMostServiceRecords;
        answer.records.resize(kMostServiceRecords);
    }
}

/// A record of the priority that counts.
struct Candidate {
    const ServiceRecord& record;
    const std::vector<shm::ServerAddress>& addresses;
    std::size_t count; ///< of them, that are used
};

/// Where there is not room for all addresses, each record has as many as the others, or all that it has: a host with many must not
/// take the others' load.
void share_room(std::vector<Candidate>& candidates)
{
    std::size_t left = shm::kMaxAddresses;
    for (bool has_given = true; has_given;) {
        has_given = false;
        for (Candidate& one : candidates) {
            if (left > 0 && one.count < one.addresses.size()) {
                ++one.count;
                --left;
                has_given = true;
            }
        }
    }
}

/// Adds the addresses of one record; where another record has brought one already, their weights add up.
void add_places(std::vector<shm::ServerAddress>& out, const Candidate& candidate)
{
    for (std::size_t i = 0; i < candidate.count; ++i) {
        shm::ServerAddress place = candidate.addresses[i];
        place.port = candidate.record.port;
        place.weight = std::max(kWeightUnit * candidate.record.weight / static_cast<std::uint32_t>(candidate.count), 1u);
        const auto known = std::find_if(out.begin(), out.end(), [&](const auto& one) { return one.is_same_place(place); });
        if (known != out.end()) {
            known->weight += place.weight;
        } else {
            out.push_back(place);
        }
    }
}

} // namespace

ServiceAnswer read_service_answer(std::span<const unsigned char> message)
{
    ServiceAnswer answer;
    MessageReader reader(message);
    reader.skip(4); // id and flags: c-ares has looked at them
    const std::size_t questions = reader.number(2);
    const std::size_t answers = reader.number(2);
    reader.skip(4);
    for (std::size_t i = 0; i < questions && reader.is_good(); ++i) {
        std::ignore = reader.name();
        reader.skip(4);
    }
    std::uint32_t ttl = std::numeric_limits<std::int32_t>::max();
    bool is_refused = false;
    for (std::size_t i = 0; i < answers && reader.is_good(); ++i) {
        std::ignore = reader.name();
        const std::uint32_t type = reader.number(2);
        const std::uint32_t of_class = reader.number(2);
        const std::uint32_t record_ttl = reader.number(4);
        const std::size_t length = reader.number(2);
        const std::size_t begin = reader.at();
        if (of_class == kDnsClassInternet && (type == kDnsTypeSrv || type == kTypeCname)) {
            // RFC 2181 §8: one with its highest bit set counts as 0.
            ttl = std::min(ttl, record_ttl > std::numeric_limits<std::int32_t>::max() ? 0 : record_ttl);
        }
        MessageReader inside = reader;
        reader.skip(length);
        if (reader.is_good() && of_class == kDnsClassInternet && type == kDnsTypeSrv) {
            const auto record = read_record(inside, is_refused);
            if (!inside.is_good() || inside.at() != begin + length) {
                answer.failure = "its SRV records cannot be read";
                answer.records.clear();
                return answer;
            }
            if (record) {
                answer.records.push_back(*record);
            }
        }
    }
    if (!reader.is_good()) {
        answer.failure = "its SRV records cannot be read";
        answer.records.clear();
        return answer;
    }
    answer.ttl = std::chrono::seconds(ttl);
    if (answer.records.empty()) {
        answer.failure = is_refused ? "its SRV record says that there is no such service" : "no SRV record that can be used";
    }
    sort_and_cut(answer);
    return answer;
}

ServicePlaces places_of(const std::vector<ServiceRecord>& records, const std::function<Target(const std::string&)>& find)
{
    ServicePlaces out;
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < records.size(); ++i) {
        const bool is_next_priority = i > 0 && records[i].priority != records[i - 1].priority;
        if (is_next_priority && (out.is_open || !candidates.empty())) {
            break;
        }
        const Target target = find(records[i].target);
        out.is_open |= !target.is_answered;
        if (target.addresses != nullptr && !target.addresses->empty()) {
            candidates.push_back({records[i], *target.addresses, 0});
        }
    }
    share_room(candidates);
    for (const Candidate& one : candidates) {
        if (one.count > 0) {
            add_places(out.addresses, one);
        }
    }
    return out;
}

} // namespace ladle::worker
