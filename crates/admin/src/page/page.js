'use strict';
const $=id=>document.getElementById(id),SVG='http://www.w3.org/2000/svg';
const el=(tag,cls,text)=>{const e=document.createElement(tag);if(cls)e.className=cls;if(text!==undefined)e.textContent=text;return e};
const num=n=>n>=1e6?(n/1e6).toFixed(2)+' M':Math.round(n).toLocaleString('en');
const rate=n=>n<100?n.toFixed(1):num(n);
const time=us=>us<1e3?us+' µs':us<1e6?(us/1e3).toFixed(1)+' ms':(us/1e6).toFixed(2)+' s';
const size=n=>n<1048576?(n/1024).toFixed(0)+' KiB':(n/1048576).toFixed(1)+' MiB';
// Peers' control and direction characters must not rearrange the page.
const safe=s=>String(s??'').replace(/[\p{Cc}\p{Cf}]/gu,c=>'\\u{'+c.codePointAt(0).toString(16)+'}');
const history=[];let recent=[];
// Cells: text, or [text, metric].
function table(id,head,rows){
  const t=$(id),row=(cells,tag,cls)=>{const tr=el('tr',cls);for(const c of cells){const td=el(tag,'',Array.isArray(c)?c[0]:c);if(Array.isArray(c)){td.dataset.metric=c[1];td.dataset.value=c[2]}tr.append(td)}return tr};
  t.replaceChildren(row(head,'th'),...rows.map(r=>row(r.cells||r,'td',r.cls)));
}
const by=(s,verdict)=>s.decisions.filter(d=>d.verdict===verdict).reduce((a,d)=>a+d.count,0);
function per(now,old,read){const s=(now.gate.unix_ms-old.gate.unix_ms)/1e3;return s>0?Math.max(0,(read(now)-read(old))/s):0}
function line(values){const svg=document.createElementNS(SVG,'svg'),p=document.createElementNS(SVG,'path'),top=Math.max(1,...values);
  svg.setAttribute('viewBox','0 0 100 30');svg.setAttribute('preserveAspectRatio','none');svg.setAttribute('aria-hidden','true');
  p.setAttribute('d',values.map((v,i)=>(i?'L':'M')+(100*i/Math.max(1,values.length-1)).toFixed(1)+' '+(29-28*v/top).toFixed(1)).join(''));svg.append(p);return svg}
function bars(values){const svg=document.createElementNS(SVG,'svg'),top=Math.max(1,...values);svg.setAttribute('viewBox','0 0 '+Math.max(1,values.length)+' 30');svg.setAttribute('preserveAspectRatio','none');svg.setAttribute('aria-hidden','true');
  values.forEach((v,i)=>{const r=document.createElementNS(SVG,'rect'),h=28*v/top;r.setAttribute('x',i+.1);r.setAttribute('width',.8);r.setAttribute('y',30-h);r.setAttribute('height',h);svg.append(r)});return svg}
function quantile(buckets,q){const all=buckets.reduce((a,b)=>a+b.count,0);let seen=0;for(const b of buckets){seen+=b.count;if(b.count&&seen>=all*q)return time(b.le_us)}return '–'}
function show(s){
  const last=history.at(-1)||s,old=history.find(h=>h.gate.unix_ms>=s.gate.unix_ms-6e4)||s,g=s.gate,ready=g.readiness.state;
  $('host').textContent=safe(g.hostname);$('ready').textContent=ready+(ready==='late'?' (shard '+g.readiness.shard+')':'');$('ready').className='pill '+(ready==='ready'?'accept':'reject');$('ready').dataset.value=ready==='ready'?1:0;
  const up=Math.floor((g.unix_ms-g.started_unix_ms)/1e3);
  $('about').textContent='mx6 '+g.version+' · '+g.mode+' · up '+Math.floor(up/86400)+' d '+Math.floor(up/3600)%24+' h '+Math.floor(up/60)%60+' min · '+g.kernels;
  $('findings').hidden=!s.observed.findings.length;$('findings').querySelector('ul').replaceChildren(...s.observed.findings.map(f=>el('li','',safe(f.text))));
  history.push(s);while(history.length>600)history.shift();
  $('rates').replaceChildren(...['accept','defer','reject'].map(v=>{const d=el('div',v),series=history.slice(1).map((h,i)=>per(h,history[i],x=>by(x,v)));d.append(el('b','',rate(per(s,last,x=>by(x,v)))),el('span','',v+', '+num(by(s,v))+' in all'),line(series));return d}));
  const sum=s.decisions.reduce((a,d)=>a+d.count,0)||1,sorted=[...s.decisions].sort((a,b)=>b.count-a.count);
  $('mix').replaceChildren(...sorted.map(d=>{const i=el('i',d.verdict);i.style.flexGrow=d.count/sum;i.title=d.rule;return i}));
  const same=(x,d)=>x.decisions.find(e=>e.stage===d.stage&&e.rule===d.rule&&e.verdict===d.verdict)?.count||0;
  table('rules',['rule','stage','verdict','count','per second'],sorted.map(d=>({cls:d.verdict,cells:[safe(d.rule),d.stage,d.verdict,[num(d.count),`mx6_decisions_total{stage="${d.stage}",rule="${d.rule}",verdict="${d.verdict}"}`,d.count],rate(per(s,last,x=>same(x,d)))]})));
  $('stages').replaceChildren(...s.timings.map(t=>{const before=old.timings.find(o=>o.name===t.name),delta=(a,b)=>{const m=new Map((b||[]).map(x=>[x.le_us,x.count]));return a.map(x=>({le_us:x.le_us,count:x.count-(m.get(x.le_us)||0)}))};
    const b=old===s?t.buckets:delta(t.buckets,before?.buckets),o=old===s?t.octaves:delta(t.octaves,before?.octaves),d=el('div');
    d.append(el('strong','',t.name),el('div','',`p50 ${quantile(b,.5)} · p90 ${quantile(b,.9)} · p99 ${quantile(b,.99)}`),bars(o.map(x=>x.count)));return d}));
  $('shards').replaceChildren(...s.shards.map(h=>{const d=el('div'),one=x=>x.shards.find(y=>y.shard===h.shard)||h,bad=h.level!=='normal'||h.lag_ms>=100;
    const n=el('span','',num(h.sessions));n.dataset.metric=`mx6_sessions{shard="${h.shard}"}`;n.dataset.value=h.sessions;
    const first=el('div');first.append(n,' sessions');
    d.append(el('strong',bad?'defer':'','shard '+h.shard+' · '+h.level),first,el('div','','CPU '+(per(s,last,x=>one(x).running_us)/1e4).toFixed(0)+' % · waits '+(per(s,last,x=>one(x).run_queue_us)/1e4).toFixed(1)+' %'),el('div','',h.stalls+' stalls · lag '+h.lag_ms+' ms'));return d}));
  const n=s.dns,all=n.hits+n.misses||1,pc=x=>(100*x/all).toFixed(1)+' %';
  table('dns',['','count','share'],[['hits','hits'],['negative hits','negative_hits'],['misses','misses'],['stale','stale'],['failures','failures'],['timeouts','timeouts']].map(([w,k])=>[w,[num(n[k]),'mx6_dns_'+k+'_total',n[k]],pc(n[k])]).concat([['in flight',[num(n.in_flight),'mx6_dns_in_flight',n.in_flight],''],['breaker',n.breaker,'']]));
  table('caches',['cache','entries','full'],s.caches.map(c=>[c.name,num(c.entries),c.octets_max?(100*c.octets/c.octets_max).toFixed(0)+' % of '+size(c.octets_max):'']));
  table('hops',['next hop','healthy','open','idle','back-off'],s.next_hops.map(h=>({cls:h.shards_healthy<h.shards?'reject':'',cells:[safe(h.name),h.shards_healthy+'/'+h.shards,num(h.open),num(h.idle),h.back_off_ms?time(h.back_off_ms*1e3):'–']})));
  const ranked=r=>r.slice(0,10).map(x=>[safe(x.name),num(x.accepted),num(x.refused)]);
  table('prefixes',['prefix','accepted','refused'],ranked(s.observed.prefixes));table('domains',['domain','accepted','refused'],ranked(s.observed.refused_domains));
  table('trial',['rule','domain','prefix','count'],s.observed.would_refuse.slice(0,10).map(x=>[safe(x.rule),safe(x.domain),safe(x.prefix),num(x.count)]));
  recent=recent.concat(s.observed.recent).slice(-100);list();
}
function list(){const want=$('filter').value.toLowerCase();
  $('last').replaceChildren(...recent.filter(r=>!want||JSON.stringify(r).toLowerCase().includes(want)).reverse().map(r=>{const li=el('li');
    li.append(el('strong',r.verdict,`${safe(r.rule)} ${safe(r.verdict)}`),` ${safe(r.time)} ${safe(r.client)} HELO ${safe(r.helo)} · ${safe(r.mail_from)||'<>'} → ${safe(r.rcpt_to)} · ${safe(r.reply)}`,
      el('div','none',`iprev ${safe(r.iprev?.result||'–')} · SPF ${safe(r.spf?.result||'–')} · DKIM ${safe((r.dkim||[]).map(d=>d.result).join(', ')||'–')}`));return li}))}
$('filter').addEventListener('input',list);
let fresh=true;const source=new EventSource('/events');
source.addEventListener('open',()=>{fresh=true;$('stream').textContent=''});
source.addEventListener('error',()=>{$('stream').textContent='No connection to the gate: what is shown is old. Trying again.'});
source.addEventListener('status',e=>{const s=JSON.parse(e.data);if(fresh){recent=[];if(history.length&&history[0].gate.started_unix_ms!==s.gate.started_unix_ms)history.length=0}fresh=false;show(s)});
