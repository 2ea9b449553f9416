// SPDX-License-Identifier: Apache-2.0
// A response's and a request's fields: whatever they say, what forbids stays in force, times stay in their bounds, and a decision
// to store is one that the directives allow.
#include "common/http/freshness.h"
#include "tests/fuzz/field_lines.h"
#include "tests/fuzz/require.h"

using namespace ladle::http;

namespace {

constexpr std::int64_t kNowMs = 1'700'000'000'000;

void check_seconds(Seconds seconds)
{
    REQUIRE(seconds.value_or(0) >= 0 && seconds.value_or(0) <= Seconds::kMost);
}

void check_decision(const FieldLinesText& response, const FieldLinesText& request)
{
    const Policy policy = find_policy(response.fields);
    const ResponseDirectives& says = policy.directives;
    for (const Seconds seconds : {says.max_age, says.s_maxage, says.stale_while_revalidate, says.stale_if_error}) {
        check_seconds(seconds);
    }
    const RequestDirectives wants = request_directives(request.fields);
    for (const std::uint16_t status : {std::uint16_t{200}, std::uint16_t{302}, std::uint16_t{404}, std::uint16_t{206}}) {
        const StoreDecision decision = decide_storing(
            {Method::get, request.fields, wants, "http://a/b", status, response.fields, policy, kNowMs - 3, kNowMs}, {});
        if (!decision.may_store()) {
            continue;
        }
        REQUIRE(status != 206 && !says.is_private && !wants.no_store && (!says.no_store || says.must_understand));
        REQUIRE(!request.fields.has(FieldName::authorization) || says.is_public || says.must_revalidate ||
                says.s_maxage.is_given());
        const StoredFreshness& kept = decision.freshness;
        REQUIRE(kept.born_ms <= kNowMs && kept.lifetime_s <= Seconds::kMost);
        REQUIRE(is_fresh(kept, kNowMs) || kept.has(StoredFreshness::kHasValidator) || kept.stale_if_error_s > 0 ||
                kept.stale_while_revalidate_s > 0);
        for (const std::int64_t later : {std::int64_t{0}, std::int64_t{1000}, std::int64_t{60'000}, std::int64_t{1} << 42}) {
            const Judgement judgement = judge(kept, wants, kNowMs + later);
            REQUIRE(judgement.reuse != Reuse::fresh || (is_fresh(kept, kNowMs + later) && !says.no_cache && !wants.no_cache));
            const bool is_strict = says.no_cache || says.must_revalidate || says.proxy_revalidate || says.s_maxage.is_given();
            REQUIRE(!is_strict || judgement.reuse == Reuse::validate || judgement.reuse == Reuse::fresh);
            REQUIRE(!is_strict || !may_serve_on_error(kept, wants, kNowMs + later, ServerFailure::no_answer, 1u << 31));
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    const std::size_t half = input.find("\n\n");
    FieldLinesText response;
    response.add(input.substr(0, half));
    FieldLinesText request;
    request.add(half == std::string_view::npos ? std::string_view{} : input.substr(half + 2));
    if (!response.parse() || !request.parse()) {
        return 0;
    }
    check_decision(response, request);

    ResponseDirectives before;
    read_cache_control(input, before);
    ResponseDirectives after = before;
    read_cache_control("no-store, private", after);
    REQUIRE(after.no_store && after.is_private && after.max_age == before.max_age);
    RequestDirectives wants;
    read_cache_control(input, wants);
    for (const Seconds seconds : {wants.max_age, wants.max_stale, wants.min_fresh, wants.stale_if_error}) {
        check_seconds(seconds);
    }
    return 0;
}
