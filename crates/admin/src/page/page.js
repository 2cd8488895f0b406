'use strict';

// What a peer said is shown by textContent alone; control and direction characters as their numbers, or they would rearrange the page.
const safe = (text) => String(text ?? '').replace(/[\p{Cc}\p{Cf}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
const $ = (id) => document.getElementById(id);

const number = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(2)} G` : n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : Math.round(n).toLocaleString('en'));
const rate = (n) => (n === 0 ? '0' : n < 10 ? n.toFixed(1) : number(n));
const percent = (part, whole) => (whole > 0 ? `${(100 * part / whole).toFixed(part * 1000 < whole || part === whole ? 0 : 1)} %` : '–');
const octets = (n) => (n < 1048576 ? `${(n / 1024).toFixed(0)} KiB` : n < 1073741824 ? `${(n / 1048576).toFixed(1)} MiB` : `${(n / 1073741824).toFixed(1)} GiB`);
const micros = (us) => (us < 1e3 ? `${us} µs` : us < 1e6 ? `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms` : `${(us / 1e6).toFixed(1)} s`);
const span = (s) => (s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min` : `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`);

function element(tag, name = '', text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function put(at, text) {
  if (at.textContent !== text) at.textContent = text;
}

// The children of `parent` become one for each item, in their order; those that were there stay, and so do selection and scrolling.
function each(parent, items, keyOf, make, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, at) => {
    const key = String(keyOf(item));
    let child = before.get(key);
    before.delete(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
    update?.(child, item);
  });
  before.forEach((child) => child.remove());
}

// A column: its head, what stands in the cell (text, or an element), whether it is text, the metric that has the value.
function table(id, columns, rows, keyOf, classOf = () => '') {
  const at = $(id);
  if (!at.tHead) {
    const head = at.createTHead().insertRow();
    columns.forEach((column) => head.append(element('th', column.text ? 'text' : '', column.head)));
    at.createTBody();
  }
  const make = () => {
    const row = element('tr');
    columns.forEach((column) => row.append(element('td', column.text ? 'text' : '')));
    return row;
  };
  each(at.tBodies[0], rows, keyOf, make, (row, item) => {
    row.className = classOf(item);
    columns.forEach((column, number) => {
      const cell = row.cells[number], shown = column.show(item, cell.firstElementChild);
      if (shown instanceof Element) {
        if (cell.firstElementChild !== shown) cell.replaceChildren(shown);
      } else put(cell, shown);
      if (column.metric) mark(cell, column.metric(item), column.value(item));
    });
  });
}

// For whoever compares the page with /metrics.
function mark(at, metric, value) {
  at.dataset.metric = metric;
  at.dataset.value = value;
}

function meter(there, part, whole, name = 'cool') {
  const at = there ?? element('span', 'meter');
  if (!at.firstElementChild) at.append(element('i'));
  at.className = `meter ${name}`;
  at.firstElementChild.style.width = `${whole > 0 ? Math.min(100, 100 * part / whole) : 0}%`;
  return at;
}

function stack(id, parts) {
  each($(id), parts.filter((part) => part.value > 0), (part) => part.name, () => element('i'), (at, part) => {
    at.className = part.class;
    at.style.flexGrow = part.value;
    at.title = `${part.name}: ${rate(part.value)}`;
  });
}

const drawn = (tag, attributes) => {
  const at = document.createElementNS('http://www.w3.org/2000/svg', tag);
  Object.entries(attributes).forEach(([name, value]) => at.setAttribute(name, value));
  return at;
};

function area(values) {
  const top = Math.max(1e-9, ...values), last = Math.max(1, values.length - 1);
  const points = values.map((value, at) => `${(100 * at / last).toFixed(2)} ${(29 - 27 * value / top).toFixed(2)}`);
  const svg = drawn('svg', { viewBox: '0 0 100 30', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  if (points.length) svg.append(drawn('path', { d: `M-1 31 L-1 ${points[0].split(' ')[1]} L${points.join(' L')} L101 ${points.at(-1).split(' ')[1]} L101 31Z` }));
  return svg;
}

function bars(values) {
  const top = Math.max(1, ...values);
  const svg = drawn('svg', { viewBox: `0 0 ${values.length} 30`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  values.forEach((value, at) => {
    const height = value > 0 ? Math.max(1, 29 * value / top) : .4;
    svg.append(drawn('rect', { x: at + .08, width: .84, y: 30 - height, height }));
  });
  return svg;
}

// Ten minutes of statuses, the newest last; `minute` is the one a minute before, or the oldest.
const history = [];
const newest = () => history.at(-1);
const before = () => history.at(-2) ?? newest();
const minute = () => history.find((status) => status.gate.unix_ms >= newest().gate.unix_ms - 60500) ?? newest();

function perSecond(now, then, read) {
  const seconds = (now.gate.unix_ms - then.gate.unix_ms) / 1e3;
  return seconds > 0 ? Math.max(0, (read(now) - read(then)) / seconds) : 0;
}

const decisions = (status, is) => status.decisions.reduce((sum, one) => sum + (is(one) ? one.count : 0), 0);
const sameDecision = (a) => (b) => a.stage === b.stage && a.rule === b.rule && a.verdict === b.verdict;
const sessions = (status) => status.shards.reduce((sum, shard) => sum + shard.sessions, 0);

function showHead({ gate, observed }) {
  const { state, shard } = gate.readiness;
  put($('host'), safe(gate.hostname));
  document.title = `${safe(gate.hostname)} · ${state}`;
  put($('ready'), state === 'late' ? `late: shard ${shard} does not move` : state);
  $('ready').className = `pill ${state === 'ready' ? 'accept' : 'reject'}`;
  mark($('ready'), 'mx6_ready', state === 'ready' ? 1 : 0);
  put($('mode'), gate.mode);
  put($('about'), `up ${span(Math.floor((gate.unix_ms - gate.started_unix_ms) / 1e3))} · mx6 ${gate.version} · process ${gate.pid}`);
  put($('kernels'), gate.kernels);
  $('findings').hidden = observed.findings.length === 0;
  each($('findings').querySelector('ul'), observed.findings, (finding) => finding.name, () => element('li'), (at, finding) => put(at, safe(finding.text)));
}

function showRates(status) {
  const verdict = (word) => ({ name: `${word === 'accept' ? 'accepted' : word === 'defer' ? 'deferred' : 'rejected'} per second`, class: word, all: (s) => decisions(s, (one) => one.verdict === word) });
  const tiles = [verdict('accept'), verdict('defer'), verdict('reject'), { name: 'sessions now', class: 'cool', now: sessions }];
  const make = () => {
    const tile = element('div');
    tile.append(element('b'), element('span'), area([]));
    return tile;
  };
  each($('rates'), tiles, (tile) => tile.name, make, (at, tile) => {
    const [big, words, plot] = at.children;
    const series = tile.now ? history.map(tile.now) : history.slice(1).map((s, i) => perSecond(s, history[i], tile.all));
    put(big, tile.now ? number(tile.now(status)) : rate(perSecond(status, before(), tile.all)));
    put(words, tile.all ? `${tile.name} · ${number(tile.all(status))} in all` : tile.name);
    at.className = tile.class;
    plot.replaceWith(area(series));
  });
}

function showRules(status) {
  const then = minute();
  const rated = status.decisions.map((one) => ({ ...one, rate: perSecond(status, then, (s) => decisions(s, sameDecision(one))) }));
  rated.sort((a, b) => b.rate - a.rate || b.count - a.count);
  const shown = (one) => `${one.rule} ${one.stage} ${one.verdict}`;
  stack('mix', rated.map((one) => ({ name: shown(one), class: one.verdict, value: one.rate })));
  const most = Math.max(...rated.map((one) => one.rate));
  table('rules', [
    { head: 'rule', text: true, show: (one) => one.rule },
    { head: 'stage', text: true, show: (one) => one.stage },
    { head: 'verdict', text: true, show: (one) => one.verdict },
    { head: 'per second', show: (one) => rate(one.rate) },
    { head: '', show: (one, there) => meter(there, one.rate, most, one.verdict) },
    { head: 'in all', show: (one) => number(one.count), metric: (one) => `mx6_decisions_total{stage="${one.stage}",rule="${one.rule}",verdict="${one.verdict}"}`, value: (one) => one.count },
  ], rated, shown, (one) => one.verdict);
}

// What came since `then`, bucket by bucket.
function since(buckets, then) {
  const counts = new Map((then ?? []).map((bucket) => [bucket.le_us, bucket.count]));
  return buckets.map((bucket) => ({ le_us: bucket.le_us, count: bucket.count - (counts.get(bucket.le_us) ?? 0) }));
}

function quantile(buckets, part) {
  const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  let seen = 0;
  const found = buckets.find((bucket) => (seen += bucket.count) >= all * part && bucket.count > 0);
  return found ? micros(found.le_us) : '–';
}

function showTimings(status) {
  const then = minute();
  const make = () => {
    const tile = element('div'), head = element('strong');
    head.append(element('span'), element('small'));
    tile.append(head, element('p'), bars([]));
    return tile;
  };
  each($('timings'), status.timings, (timing) => timing.name, make, (at, timing) => {
    const old = then === status ? undefined : then.timings.find((other) => other.name === timing.name);
    const buckets = since(timing.buckets, old?.buckets), octaves = since(timing.octaves, old?.octaves);
    const [head, words, plot] = at.children;
    put(head.firstChild, timing.name);
    put(head.lastChild, number(buckets.reduce((sum, bucket) => sum + bucket.count, 0)));
    put(words, `${quantile(buckets, .5)} · ${quantile(buckets, .9)} · ${quantile(buckets, .99)}`);
    words.title = 'half, nine of ten, 99 of 100 take no longer';
    // From 1 µs to half a minute.
    plot.replaceWith(bars(octaves.slice(0, 26).map((octave) => octave.count)));
  });
}

function showCores(status) {
  const then = before();
  const make = () => {
    const lane = element('div', 'lane');
    ['', '', '', '', ''].forEach(() => lane.append(element('span')));
    [lane.children[2], lane.children[3]].forEach((cell) => cell.append(element('small'), meter(undefined, 0, 1)));
    return lane;
  };
  each($('cores'), status.shards, (shard) => shard.shard, make, (at, shard) => {
    const of = (s) => s.shards.find((other) => other.shard === shard.shard) ?? shard;
    const cpu = perSecond(status, then, (s) => of(s).running_us) / 1e6, waits = perSecond(status, then, (s) => of(s).run_queue_us) / 1e6;
    const [name, open, ran, waited, stalls] = at.children;
    put(name, `core ${shard.cpu}`);
    put(open, `${number(shard.sessions)} sess.`);
    mark(open, `mx6_sessions{shard="${shard.shard}"}`, shard.sessions);
    put(ran.firstChild, `runs ${percent(cpu, 1)}`);
    meter(ran.lastChild, cpu, 1);
    put(waited.firstChild, `waits ${percent(waits, 1)}`);
    meter(waited.lastChild, waits, 1, waits > .2 ? 'defer' : 'cool');
    const calm = shard.level === 'normal' && shard.heartbeat_age_ms < 2000;
    put(stalls, shard.heartbeat_age_ms >= 2000 ? `still for ${span(Math.round(shard.heartbeat_age_ms / 1e3))}` : calm ? `${shard.stalls} stalls · ${shard.lag_ms} ms` : shard.level);
    stalls.className = !calm ? 'reject' : shard.lag_ms >= 100 ? 'defer' : 'none';
    stalls.title = `the longest stall: ${shard.stall_max_ms} ms`;
  });
}

function showDns({ dns, caches }) {
  put($('breaker'), dns.breaker === 'open' ? 'breaker open: the resolver answers nothing' : `breaker ${dns.breaker}`);
  $('breaker').className = dns.breaker === 'open' ? 'reject' : '';
  const all = dns.hits + dns.misses + dns.zone_answers;
  const rows = [['hits', 'hits', 'accept'], ['of these negative', 'negative_hits', 'none'], ['misses', 'misses', 'cool'], ['stale', 'stale', 'defer'], ['failures', 'failures', 'reject'], ['timeouts', 'timeouts', 'reject']];
  const parts = [['negative hits', dns.negative_hits, 'none'], ['hits', dns.hits - dns.negative_hits, 'accept'], ['misses', dns.misses, 'cool'], ['stale', dns.stale, 'defer']];
  stack('lookups', parts.map(([name, value, kind]) => ({ name, value, class: kind })));
  table('dns', [
    { head: 'lookups', text: true, show: ([name]) => name },
    { head: 'in all', show: ([, key]) => number(dns[key]), metric: ([, key]) => (key === 'in_flight' ? 'mx6_dns_in_flight' : `mx6_dns_${key}_total`), value: ([, key]) => dns[key] },
    { head: 'share', show: ([, key]) => (key === 'in_flight' ? '' : percent(dns[key], all)) },
  ], [['in flight', 'in_flight', ''], ...rows], ([name]) => name);
  table('caches', [
    { head: 'cache', text: true, show: (cache) => cache.name },
    { head: 'entries', show: (cache) => number(cache.entries), metric: (cache) => `mx6_cache_entries{cache="${cache.name}"}`, value: (cache) => cache.entries },
    { head: 'full', show: (cache, there) => meter(there, cache.octets, cache.octets_max, cache.octets > cache.octets_max * .95 ? 'defer' : 'cool') },
    { head: 'of', show: (cache) => octets(cache.octets_max) },
  ], caches, (cache) => cache.name);
}

function showNextHops(status) {
  table('hops', [
    { head: 'next hop', text: true, show: (hop) => safe(hop.name) },
    { head: 'healthy', show: (hop) => `${hop.shards_healthy} of ${hop.shards}`, metric: (hop) => `mx6_next_hop_healthy_shards{next_hop="${hop.name}"}`, value: (hop) => hop.shards_healthy },
    { head: 'open', show: (hop) => number(hop.open) },
    { head: 'idle', show: (hop) => number(hop.idle) },
    { head: 'back-off', show: (hop) => (hop.back_off_ms ? micros(hop.back_off_ms * 1e3) : '–') },
  ], status.next_hops, (hop) => hop.name, (hop) => (hop.shards_healthy < hop.shards ? 'reject' : ''));
}

function showTop({ observed }) {
  const count = (ranked, key) => number(ranked[key]) + (ranked.error ? ' ±' : '');
  const ranks = (name) => [
    { head: name, text: true, show: (ranked) => safe(ranked.name) },
    { head: 'accepted', show: (ranked) => count(ranked, 'accepted') },
    { head: 'refused', show: (ranked) => count(ranked, 'refused') },
    { head: 'on trial', show: (ranked) => count(ranked, 'would_refuse') },
  ];
  table('prefixes', ranks('prefix'), observed.prefixes.slice(0, 10), (ranked) => ranked.name);
  table('domains', ranks('domain'), observed.refused_domains.slice(0, 10), (ranked) => ranked.name);
  table('trial', [
    { head: 'rule', text: true, show: (would) => would.rule },
    { head: 'domain', text: true, show: (would) => safe(would.domain) },
    { head: 'prefix', text: true, show: (would) => safe(would.prefix) },
    { head: 'recipients', show: (would) => count(would, 'count') },
  ], observed.would_refuse.slice(0, 10), (would) => `${would.rule} ${would.domain} ${would.prefix}`);
}

let recent = [];

function showRecent() {
  const wanted = $('filter').value.toLowerCase();
  const shown = recent.filter((one) => !wanted || one.text.includes(wanted)).reverse();
  each($('recent'), shown, (one) => one.key, ({ record }) => {
    const item = element('li'), words = element('div'), facts = element('p');
    const verdict = element('span', record.would ? 'defer' : record.verdict);
    verdict.append(element('strong', '', record.verdict), element('small', '', ` ${record.would ? 'on trial: ' : ''}${safe(record.rule)}`));
    words.append(`${safe(record.client)} ${record.helo ? `as ${safe(record.helo)}` : ''} · ${safe(record.mail_from) || '<>'} → ${safe(record.rcpt_to) || '–'}`);
    facts.textContent = `iprev ${safe(record.iprev?.result ?? '–')} · SPF ${safe(record.spf?.result ?? '–')} · DKIM ${safe((record.dkim ?? []).map((one) => one.result).join(', ') || '–')} · ${safe(record.reply)}`;
    words.append(facts);
    const time = element('time', 'none', safe(record.time).slice(11, 19));
    time.dateTime = record.time;
    item.append(time, verdict, words);
    item.title = `session ${safe(record.session)} at ${safe(record.stage)}`;
    return item;
  });
}

let told = 0;

function take(status) {
  if (history.length && newest().gate.started_unix_ms !== status.gate.started_unix_ms) history.length = 0;
  history.push(status);
  while (history.length > 600) history.shift();
  showHead(status);
  showRates(status);
  showRules(status);
  showTimings(status);
  showCores(status);
  showDns(status);
  showNextHops(status);
  showTop(status);
  recent = recent.concat(status.observed.recent.map((record) => ({ record, key: told++, text: JSON.stringify(record).toLowerCase() }))).slice(-100);
  showRecent();
}

$('filter').addEventListener('input', showRecent);
const source = new EventSource('/events');
source.addEventListener('open', () => {
  recent = [];
  put($('stream'), '');
});
source.addEventListener('error', () => put($('stream'), 'No connection to the gate: what is shown is old. Trying again.'));
source.addEventListener('status', (event) => take(JSON.parse(event.data)));
