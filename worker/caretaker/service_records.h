// SPDX-License-Identifier: Apache-2.0
//
// A service (RFC 2782): a name whose SRV records say on which hosts and ports it is, and which of them come first. Here its records
// are read from a DNS answer, and made into addresses with what is known of the hosts' names; asking is for others (resolver.h,
// name_book.h). No I/O. Caretaker process. At most kMostServiceRecords are kept of an answer, so what a DNS server can make us ask
// for has a bound.
#pragma once

#include "common/shm/server_table.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace ladle::worker {

inline constexpr std::size_t kMostServiceRecords = 32;
inline constexpr std::uint16_t kDnsClassInternet = 1;
inline constexpr std::uint16_t kDnsTypeSrv = 33;

struct ServiceRecord {
    std::uint16_t priority; ///< the lowest comes first
    std::uint16_t weight;   ///< its share among those of its priority; 0 = hardly any beside others
    std::uint16_t port;     ///< never 0
    std::string target;     ///< a host name in lower case, without a dot at its end

    auto operator<=>(const ServiceRecord&) const = default;
};

/// What a DNS answer says of a service.
struct ServiceAnswer {
    std::string failure;                ///< empty = good; else why, for people
    std::vector<ServiceRecord> records; ///< by priority, then the heavier ones first; the same however the answer was turned
    std::size_t left_out = 0;           ///< more than kMostServiceRecords
    std::chrono::seconds ttl{0};        ///< the shortest of its records, of CNAMEs on the way too
};

/// Reads a whole DNS message. Records without a port, or whose target is no host name, are passed over.
ServiceAnswer read_service_answer(std::span<const unsigned char> message);

/// What is known of a target.
struct Target {
    bool is_answered = false;                              ///< false = DNS has yet to say
    const std::vector<shm::ServerAddress>* addresses = nullptr; ///< the last good ones; null = none
};

/// The addresses of a service.
struct ServicePlaces {
    std::vector<shm::ServerAddress> addresses; ///< with ports and weights; each once, kMaxAddresses at most
    bool is_open = false;                      ///< a target of theirs, or one that comes before them, has yet to be answered
};

/// Those of the lowest priority that has any. Higher ones are not looked at before all targets of the lower ones are answered.
/// `find` is asked for each target.
ServicePlaces places_of(const std::vector<ServiceRecord>& records, const std::function<Target(const std::string&)>& find);

} // namespace ladle::worker
