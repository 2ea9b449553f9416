// SPDX-License-Identifier: Apache-2.0
#include "common/http/freshness.h"

#include "common/http/conditional.h"
#include "common/http/date.h"
#include "common/http/invalidation.h"
#include "common/http/range.h"
#include "common/http/status.h"

#include <algorithm>

namespace ladle::http {

namespace {

using Flag = StoredFreshness::Flag;

/// What of a response, new or updated, decides about storing and freshness.
struct Response {
    std::uint16_t status;
    const Fields& fields;
    const Policy& policy;
    std::int64_t age_s; ///< received_age of the message that came
    std::int64_t request_ms;
    std::int64_t response_ms;
    bool was_authorized;
};

struct Lifetime {
    LifetimeSource source = LifetimeSource::none;
    std::int64_t seconds = 0;
    bool counts_from_arrival = false; ///< given by the operator: how old the response already was does not count
};

/// Statuses whose response makes sense for the one request only, or must not be stored at all (RFC 6585 for 428, 429, 431 and 511).
bool is_never_stored(std::uint16_t status) noexcept
{
    switch (status) {
    case 304:
    case 407:
    case 412:
    case 416:
    case 421:
    case 428:
    case 429:
    case 431:
    case 511:
        return true;
    default:
        return status < 200 || status > 599;
    }
}

/// One valid range, so not multipart/byteranges.
bool is_usable_part(const Fields& response) noexcept
{
    if (response.count(FieldName::content_range) != 1) {
        return false;
    }
    const auto range = parse_content_range(response.value_of(FieldName::content_range));
    return range && !range->is_unsatisfied;
}

NotStored check_method(const Exchanged& exchanged, const StoreRules& rules)
{
    if (exchanged.method == Method::get) {
        return NotStored::none;
    }
    if (exchanged.method != Method::post || !rules.stores_post || exchanged.url.empty() ||
        exchanged.response.count(FieldName::content_location) != 1) {
        return NotStored::method;
    }
    const ResponseDirectives& directives = exchanged.policy.directives;
    const bool is_explicit = directives.max_age.is_valid() || directives.s_maxage.is_valid() ||
                             (!exchanged.policy.has_targeted() && exchanged.response.has(FieldName::expires));
    const std::string location = resolve_reference(exchanged.url, exchanged.response.value_of(FieldName::content_location));
    return is_explicit && !location.empty() && location == resolve_reference(exchanged.url, "") ? NotStored::none
                                                                                                : NotStored::method;
}

/// RFC 9111 §3, what does not depend on the request's method.
NotStored check_response(const Response& response) noexcept
{
    const ResponseDirectives& directives = response.policy.directives;
    if (is_never_stored(response.status)) {
        return NotStored::status;
    }
    if (directives.must_understand && !is_understood(response.status)) {
        return NotStored::not_understood;
    }
    if (directives.no_store && !directives.must_understand) { // §5.2.2.3: must-understand takes no-store's place
        return NotStored::no_store;
    }
    if (directives.is_private) {
        return NotStored::is_private;
    }
    if (response.was_authorized && !directives.is_public && !directives.must_revalidate && !directives.s_maxage.is_given()) {
        return NotStored::authorization;
    }
    return response.fields.list_has(FieldName::vary, "*") ? NotStored::vary_any : NotStored::none;
}

/// Expires − Date (RFC 9111 §5.3): an invalid one, or several that differ, is in the past.
std::int64_t expires_lifetime(const Fields& fields, std::int64_t date_s, std::int64_t now_s) noexcept
{
    const std::string_view text = fields.value_of(FieldName::expires);
    for (const Field& field : fields) {
        if (field.id == FieldName::expires && fields.value(field) != text) {
            return 0;
        }
    }
    const auto expires = parse_date(text, now_s);
    return expires ? std::clamp(*expires - date_s, std::int64_t{0}, Seconds::kMost) : 0;
}

/// §4.2.1.
Lifetime explicit_lifetime(const Response& response, std::int64_t date_s) noexcept
{
    const ResponseDirectives& directives = response.policy.directives;
    if (directives.s_maxage.is_given()) {
        return {LifetimeSource::s_maxage, directives.s_maxage.value_or(0)};
    }
    if (directives.max_age.is_given()) {
        return {LifetimeSource::max_age, directives.max_age.value_or(0)};
    }
    if (!response.policy.has_targeted() && response.fields.has(FieldName::expires)) {
        return {LifetimeSource::expires, expires_lifetime(response.fields, date_s, response.response_ms / 1000)};
    }
    return {};
}

/// §4.2.2, and the lifetimes that the operator gives.
Lifetime choose_lifetime(const Response& response, const Validators& validators, std::int64_t date_s,
                         const StoreRules& rules) noexcept
{
    const Lifetime given = explicit_lifetime(response, date_s);
    const bool is_given = given.source != LifetimeSource::none;
    const bool is_error = response.status >= 400;
    const bool is_cacheable = is_heuristically_cacheable(response.status);
    if (rules.ttl.is_valid() && !is_error && (is_given || is_cacheable)) {
        return {LifetimeSource::ttl, rules.ttl.value_or(0), true};
    }
    if (is_given) {
        return given;
    }
    if (is_error) {
        for (const StatusTtl& negative : rules.negative) {
            if (response.status >= negative.first && response.status <= negative.last) {
                return {LifetimeSource::negative, negative.seconds, true};
            }
        }
    }
    if (!is_cacheable && !response.policy.directives.is_public) {
        return {};
    }
    if (validators.last_modified_s && rules.heuristic_percent > 0) {
        const std::int64_t unchanged = std::max(date_s - *validators.last_modified_s, std::int64_t{0});
        const std::int64_t guess = std::min(unchanged, Seconds::kMost) * rules.heuristic_percent / 100;
        return {LifetimeSource::heuristic, std::min(guess, std::int64_t{rules.heuristic_most_s})};
    }
    if (rules.default_ttl.is_valid() && !is_error && is_cacheable) {
        return {LifetimeSource::default_ttl, rules.default_ttl.value_or(0), true};
    }
    return {};
}

/// §4.2.3: corrected_initial_age, in milliseconds.
std::int64_t initial_age_ms(const Response& response, std::int64_t date_s) noexcept
{
    const std::int64_t apparent = std::max(response.response_ms / 1000 - date_s, std::int64_t{0});
    const std::int64_t delay_ms = std::max(response.response_ms - response.request_ms, std::int64_t{0});
    return std::max(std::min(apparent, Seconds::kMost) * 1000, response.age_s * 1000 + delay_ms);
}

bool may_keep_cookies(const Response& response, Lifetime lifetime, const StoreRules& rules) noexcept
{
    if (rules.cookies == CookieRule::ignore || !response.fields.has(FieldName::set_cookie)) {
        return true;
    }
    const bool is_explicit = lifetime.seconds > 0 && !response.policy.directives.no_cache &&
                             (lifetime.source == LifetimeSource::s_maxage || lifetime.source == LifetimeSource::max_age ||
                              lifetime.source == LifetimeSource::expires);
    return rules.cookies == CookieRule::if_explicit && (is_explicit || response.policy.directives.is_public);
}

std::uint32_t to_u32(std::int64_t seconds) noexcept
{
    return static_cast<std::uint32_t>(std::clamp(seconds, std::int64_t{0}, Seconds::kMost));
}

/// Stale use (RFC 5861) where nothing forbids it (§4.2.4).
void set_stale_use(StoredFreshness& freshness, const ResponseDirectives& directives, const StoreRules& rules) noexcept
{
    const Seconds refresh =
        rules.stale_while_revalidate.is_valid() ? rules.stale_while_revalidate : directives.stale_while_revalidate;
    const Seconds error = rules.stale_if_error.is_valid() ? rules.stale_if_error : directives.stale_if_error;
    const bool is_lax = rules.is_lax_with_s_maxage && (refresh.is_valid() || error.is_valid());
    if (directives.must_revalidate || directives.proxy_revalidate || (directives.s_maxage.is_given() && !is_lax)) {
        freshness.flags |= Flag::kMustRevalidate;
        return;
    }
    freshness.stale_while_revalidate_s = to_u32(refresh.value_or(0));
    freshness.stale_if_error_s = to_u32(error.value_or(0));
}

/// The part that a new and an updated response have in common.
StoreDecision decide(const Response& response, const StoreRules& rules)
{
    StoreDecision decision;
    decision.reason = check_response(response);
    if (!decision.may_store()) {
        return decision;
    }
    const std::int64_t now_s = response.response_ms / 1000;
    const Validators validators = find_validators(response.fields, now_s);
    const std::int64_t date_s = validators.date_s.value_or(now_s); // RFC 9110 §6.6.1
    const Lifetime lifetime = choose_lifetime(response, validators, date_s, rules);
    decision.source = lifetime.source;
    const bool is_storable = lifetime.source != LifetimeSource::none || response.policy.directives.is_public ||
                             is_heuristically_cacheable(response.status);
    if (!is_storable) {
        decision.reason = NotStored::no_freshness;
        return decision;
    }
    if (!may_keep_cookies(response, lifetime, rules)) {
        decision.reason = NotStored::set_cookie;
        return decision;
    }
    StoredFreshness& freshness = decision.freshness;
    const std::int64_t initial_ms = initial_age_ms(response, date_s);
    freshness.born_ms = response.response_ms - initial_ms;
    freshness.lifetime_s = to_u32(lifetime.seconds + (lifetime.counts_from_arrival ? (initial_ms + 999) / 1000 : 0));
    freshness.status = response.status;
    set_stale_use(freshness, response.policy.directives, rules);
    const auto set = [&freshness](bool condition, Flag flag) {
        if (condition) {
            freshness.flags |= flag;
        }
    };
    set(response.policy.directives.no_cache, Flag::kAlwaysValidate);
    set(response.policy.directives.immutable, Flag::kImmutable);
    set(lifetime.source == LifetimeSource::heuristic, Flag::kHeuristic);
    set(validators.any(), Flag::kHasValidator);
    set(response.was_authorized, Flag::kWasAuthorized);
    set(response.status == 206, Flag::kIsPartial);
    const bool is_usable =
        (is_fresh(freshness, response.response_ms) || freshness.stale_if_error_s > 0 || freshness.stale_while_revalidate_s > 0) &&
        !freshness.has(Flag::kAlwaysValidate);
    if (!is_usable && !validators.any()) {
        decision.reason = lifetime.source == LifetimeSource::none ? NotStored::no_freshness : NotStored::stale;
    }
    return decision;
}

} // namespace

StoreDecision decide_storing(const Exchanged& exchanged, const StoreRules& rules)
{
    StoreDecision refusal;
    refusal.reason = check_method(exchanged, rules);
    if (refusal.may_store() && exchanged.directives.no_store) {
        refusal.reason = NotStored::request_no_store;
    }
    if (refusal.may_store() && exchanged.status == 206 && (!rules.stores_parts || !is_usable_part(exchanged.response))) {
        refusal.reason = NotStored::partial;
    }
    if (!refusal.may_store()) {
        return refusal;
    }
    return decide({exchanged.status, exchanged.response, exchanged.policy, received_age(exchanged.response), exchanged.request_ms,
                   exchanged.response_ms, exchanged.request.has(FieldName::authorization)},
                  rules);
}

StoreDecision decide_refreshing(const Refreshed& refreshed, const StoreRules& rules)
{
    return decide({refreshed.old.status, refreshed.merged, refreshed.policy, received_age(refreshed.received), refreshed.request_ms,
                   refreshed.response_ms, refreshed.old.has(Flag::kWasAuthorized)},
                  rules);
}

StoredFreshness touched(const StoredFreshness& old, std::int64_t request_ms, std::int64_t response_ms) noexcept
{
    StoredFreshness result = old;
    result.born_ms = std::min(request_ms, response_ms);
    return result;
}

std::int64_t received_age(const Fields& response) noexcept
{
    const std::string_view text =
        response.value_of(FieldName::age); // several fields are one list: its first member is in the first field
    std::size_t digits = 0;
    while (digits < text.size() && is_class(text[digits], kDigit)) {
        ++digits;
    }
    const std::string_view rest = trim(text.substr(digits));
    if (digits == 0 || (!rest.empty() && rest.front() != ',' && rest.front() != ';')) {
        return 0;
    }
    const auto value = parse_decimal(text.substr(0, digits));
    return value ? std::min(static_cast<std::int64_t>(*value), Seconds::kMost) : Seconds::kMost;
}

bool is_server_error(std::uint16_t status) noexcept
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

bool is_heuristically_cacheable(std::uint16_t status) noexcept
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 206:
    case 300:
    case 301:
    case 308:
    case 404:
    case 405:
    case 410:
    case 414:
    case 501:
        return true;
    default:
        return false;
    }
}

bool is_understood(std::uint16_t status) noexcept
{
    return status >= 200 && !reason_phrase(status).empty() && !is_never_stored(status);
}

std::string_view name_of(NotStored reason) noexcept
{
    switch (reason) {
    case NotStored::none:
        return "stored";
    case NotStored::method:
        return "method";
    case NotStored::request_no_store:
        return "request-no-store";
    case NotStored::status:
        return "status";
    case NotStored::not_understood:
        return "not-understood";
    case NotStored::no_store:
        return "no-store";
    case NotStored::is_private:
        return "private";
    case NotStored::authorization:
        return "authorization";
    case NotStored::vary_any:
        return "vary-any";
    case NotStored::set_cookie:
        return "set-cookie";
    case NotStored::partial:
        return "partial";
    case NotStored::no_freshness:
        return "no-freshness";
    case NotStored::stale:
        return "stale";
    }
    return "unknown";
}

std::string_view name_of(LifetimeSource source) noexcept
{
    switch (source) {
    case LifetimeSource::none:
        return "none";
    case LifetimeSource::ttl:
        return "ttl";
    case LifetimeSource::s_maxage:
        return "s-maxage";
    case LifetimeSource::max_age:
        return "max-age";
    case LifetimeSource::expires:
        return "expires";
    case LifetimeSource::heuristic:
        return "heuristic";
    case LifetimeSource::default_ttl:
        return "default-ttl";
    case LifetimeSource::negative:
        return "negative";
    }
    return "unknown";
}

} // namespace ladle::http
