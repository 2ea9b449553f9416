// SPDX-License-Identifier: Apache-2.0
// The purge log: lines and bases of any bytes are read or refused without harm; a purge of any text comes back from its line.
#include "common/shm/purge_log.h"
#include "tests/fuzz/require.h"

#include <string>

using namespace ladle::shm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    if (const auto parsed = parse_purge_line(input)) {
        const auto again = parse_purge_line(std::string_view(to_line(*parsed)).substr(0, to_line(*parsed).size() - 1));
        REQUIRE(again && again->text == parsed->text && again->epoch == parsed->epoch);
    }
    if (const auto base = parse_purge_base(input)) {
        REQUIRE(make_purge_base(*base) == input);
    }
    const LoggedPurge purge{size, size % 2 == 0 ? PurgeSubject::url : PurgeSubject::tag, PurgeKind::soft, std::string(input)};
    const std::string line = to_line(purge);
    REQUIRE(line.find('\n') == line.size() - 1);
    const auto back = parse_purge_line(std::string_view(line).substr(0, line.size() - 1));
    REQUIRE(back && back->text == input && back->subject == purge.subject && back->epoch == size);
    const auto base = parse_purge_base(make_purge_base({1, size, std::string(input)}));
    REQUIRE(base && base->table == input && base->first_number == size);
    return 0;
}
