/* Lease, fence, takeover, group commit after an unknown answer, birth, and a database that fails
   over and loses what it had acknowledged. One run, two workers, a judge for each.

   What each step stands for:
     Backend   a session inside commit() (sql/commit.sql); it may live on after its client has
               given up: fence = `for key share` on the worker; locks and verdict = `for key
               share of r skip locked` with the query for verdicts (an older snapshot of the
               journal can only lead to 23505, which is here); last = insert into journal, close,
               commit, all seen at once
     Instance  a run in a worker's memory (_runtime/instance.py, committer.py): it sends the same
               rows under the same key until it is answered
     Worker    claim() (sql/claim.sql): fence, then lock and update; the history is read after
               it (journal.sql, read); reconciling with `owned` (runs.sql); a birth
     Judge     mark_dead() (sql/worker.sql, `for update` waits for the fences held), take_back
               and bury (workers.sql); in any order, by anybody, again and again
     Replica   what a failover brings back; sessions and locks are gone, memories are not
   Not here: time (a judge may be wrong at any moment), ids (a unique index), parks (park.pml).

   holds: DEATHS=1 UNKNOWNS=0
   holds: DEATHS=0 UNKNOWNS=2
   holds: DEATHS=1 UNKNOWNS=1
   holds: BIRTH DEATHS=1 UNKNOWNS=1
   holds: FAILOVER COUNTED DEATHS=0 UNKNOWNS=0     claims are counted: numbers come again
   fails: FENCE_UNLOCKED DEATHS=1 UNKNOWNS=0        the worker's row is read and not locked
   fails: PLAIN_UPDATE DEATHS=1 UNKNOWNS=0          marked dead without waiting for fences
   fails: BURY_FIRST DEATHS=1 UNKNOWNS=0            the worker's row goes before its runs
   fails: HISTORY_IN_CLAIM DEATHS=1 UNKNOWNS=0      history in the snapshot of the claim
   fails: FAILOVER COUNTED ANY_ROW DEATHS=0 UNKNOWNS=0   a row stands before, whoever's it is

   commit() asks for the key of the journal's last row. ANY_ROW asks only whether there is one.
*/
#define LIVE 0
#define DEAD 1
#define BURIED 2

#define NOBODY 0

#define ABSENT 0
#define PENDING 1
#define RUNNING 2
#define CLOSED 3

#define NONE 0
#define DONE 1
#define LOST 2
#define FENCED 3
#define GO 4

#ifndef ROWS
#define ROWS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef UNKNOWNS
#define UNKNOWNS 1
#endif
#define INSTANCES 8

byte worker_state[3], worker_shares[3];
byte run_status, run_worker, run_claim, run_shares;
byte journal_length, journal_key[ROWS];
byte primary;

bool alive[3]; byte memory[3];
byte sends[INSTANCES], reply[INSTANCES];
byte instances = 1, claims = 0;
byte deaths, unknowns;

#define ours (run_status == RUNNING && run_worker == me && run_claim == claim)
#define is_gone (primary != on)
#ifdef FAILOVER
#define is_over (run_status == CLOSED && primary > 0)
#else
#define is_over (run_status == CLOSED)
#endif
#ifdef PLAIN_UPDATE
#define lockable(u) true
#else
#define lockable(u) (worker_shares[u] == 0)
#endif
#ifdef FENCE_UNLOCKED
#define FENCE 0
#else
#define FENCE 1
#endif
#ifndef ANY_ROW
#define rests (first == 0 || journal_key[first - 1] == base)
#else
#define rests true
#endif

proctype Backend(byte i, send, on, me, claim, first, key, base; bool bears) {
  bool holds_run; byte verdict;
begin:
  atomic { /* fence */
    if
    :: is_gone -> verdict = NONE
    :: !is_gone && worker_state[me] == LIVE -> verdict = GO; worker_shares[me] = worker_shares[me] + FENCE
    :: else -> verdict = FENCED
    fi };
  if :: verdict != GO -> goto tell :: else fi;
  d_step { /* locks, and verdict */
    if
    :: is_gone -> verdict = NONE
    :: !is_gone && bears && run_status == ABSENT -> verdict = GO
    :: !is_gone && !(bears && run_status == ABSENT) && journal_length > first && journal_key[first] == key ->
      if :: ours || first == ROWS - 1 -> verdict = DONE :: else -> verdict = LOST fi
    :: else ->
      if
      :: ours && journal_length == first && rests -> verdict = GO; run_shares++; holds_run = true
      :: else -> verdict = LOST
      fi
    fi };
  if
  :: verdict == GO ->
    d_step { /* the journal, the close; commit */
      if
      :: is_gone -> verdict = NONE
      :: !is_gone && (journal_length > first || (bears && run_status != ABSENT)) -> /* 23505 */
        worker_shares[me] = worker_shares[me] - FENCE; run_shares = run_shares - holds_run; holds_run = false
      :: else ->
        if :: bears && first == 0 -> run_status = RUNNING; run_worker = me; run_claim = claim :: else fi;
        assert(journal_length == first);
        assert(ours);
        assert(worker_state[me] == LIVE);
        assert(first == 0 || journal_key[first - 1] == base);  /* it rests on what its sender knew */
        journal_key[first] = key; journal_length++;
        if :: journal_length == ROWS -> run_status = CLOSED; run_worker = NOBODY :: else fi;
        verdict = DONE
      fi };
    if :: verdict == GO -> goto begin :: else fi
  :: else
  fi;
tell:
  atomic {
    if
    :: is_gone || verdict == NONE
    :: else ->
      if :: verdict != FENCED -> worker_shares[me] = worker_shares[me] - FENCE :: else fi;
      run_shares = run_shares - holds_run; holds_run = false;
      if :: verdict == DONE -> assert(journal_key[first] == key) :: else fi;
      if :: sends[i] == send -> reply[i] = verdict :: else fi
    fi }
}

proctype Instance(byte i, me, claim, next, base; bool bears) {
  byte on, verdict;
send:
  atomic { on = primary; 
    run Backend(i, sends[i], on, me, claim, next, i * ROWS + next, base, bears) };
wait:
  atomic { if
  :: reply[i] != NONE -> verdict = reply[i]; reply[i] = NONE
  :: is_gone && reply[i] == NONE -> goto send
  :: unknowns < UNKNOWNS && reply[i] == NONE -> unknowns++; sends[i]++; goto send
  fi;
  if
  :: verdict == DONE && memory[me] == i && next + 1 < ROWS -> base = i * ROWS + next; next++; bears = false; verdict = 0; goto send
  :: verdict == FENCED -> alive[me] = false
  :: else
  fi;
  if :: memory[me] == i -> memory[me] = NOBODY :: else fi;
  if :: bears && verdict != DONE && run_status == ABSENT -> run_status = PENDING :: else fi;
  i = 0; me = 0; claim = 0; next = 0; base = 0; on = 0; verdict = 0
  }
}

inline load() {
  atomic {
    if
    :: run_status != CLOSED ->
#ifdef HISTORY_IN_CLAIM
      next = snapshot;
#else
      next = journal_length;
#endif
      assert(next >= length_at_claim || is_gone);
      if :: next > 0 -> base = journal_key[next - 1] :: else -> base = 0 fi;
      assert(instances < INSTANCES);
      memory[me] = instances; instances++;
      run Instance(memory[me], me, claim, next, base, false)
    :: else
    fi;
    claim = 0; next = 0; base = 0; on = 0; length_at_claim = 0 }
}

proctype Worker(byte me; bool bears) {
  byte on, claim, next, base, length_at_claim;
#ifdef HISTORY_IN_CLAIM
  byte snapshot;
#endif
  atomic { if
    :: bears -> claims++; memory[me] = instances; instances++; run Instance(memory[me], me, claims, 0, 0, true); bears = false
    :: else
    fi };
look:
  if
  :: is_over || !alive[me] -> goto end
  :: atomic { deaths < DEATHS -> deaths++; alive[me] = false; goto end }
  :: atomic { worker_state[me] != LIVE -> alive[me] = false; goto end }
  :: atomic { run_status == PENDING && worker_state[me] == LIVE -> on = primary;
#ifdef HISTORY_IN_CLAIM
       snapshot = journal_length;
#endif
       worker_shares[me] = worker_shares[me] + FENCE };
     atomic { if
       :: is_gone -> on = 0; goto look
       :: !is_gone && run_status == PENDING && run_shares == 0 ->
         worker_shares[me] = worker_shares[me] - FENCE;
         run_status = RUNNING; run_worker = me;
#ifdef COUNTED
         run_claim++;
#else
         claims++; run_claim = claims;
#endif
         claim = run_claim; length_at_claim = journal_length
       :: else -> worker_shares[me] = worker_shares[me] - FENCE; on = 0; goto look
       fi };
     if
     :: load()
     :: atomic { unknowns < UNKNOWNS -> unknowns++; claim = 0; on = 0; length_at_claim = 0 }
     fi
  :: atomic { run_status == RUNNING && run_worker == me && alive[me] && memory[me] == NOBODY -> claim = run_claim;  on = primary; length_at_claim = 0
#ifdef HISTORY_IN_CLAIM
       ; snapshot = journal_length
#endif
     };
     load()
  fi;
  goto look;
end: memory[me] = NOBODY
}


proctype Judge(byte u) {
  do
  :: atomic { worker_state[u] == LIVE && (deaths < DEATHS || !alive[u]) && lockable(u) ->
       if :: alive[u] -> deaths++ :: else fi; worker_state[u] = DEAD }
  :: atomic { worker_state[u] == DEAD && run_status == RUNNING && run_worker == u && run_shares == 0 ->
       run_status = PENDING; run_worker = NOBODY }
#ifdef BURY_FIRST
  :: atomic { worker_state[u] == DEAD -> worker_state[u] = BURIED }
#else
  :: atomic { worker_state[u] == DEAD && run_worker != u -> worker_state[u] = BURIED }
#endif
  :: is_over -> break
  od
}

#ifdef FAILOVER
byte old_state[3], old_status, old_worker, old_claim, old_length, old_key[ROWS];
proctype Replica() {
  d_step {
    old_state[1] = worker_state[1]; old_state[2] = worker_state[2]; old_key[0] = journal_key[0]; old_key[1] = journal_key[1];
    old_status = run_status; old_worker = run_worker; old_claim = run_claim; old_length = journal_length };
  d_step { primary++;
    worker_state[1] = old_state[1]; worker_state[2] = old_state[2]; worker_shares[1] = 0; worker_shares[2] = 0;
    journal_key[0] = old_key[0]; journal_key[1] = old_key[1];
    run_status = old_status; run_worker = old_worker; run_claim = old_claim; journal_length = old_length;
    old_state[1] = 0; old_state[2] = 0; old_key[0] = 0; old_key[1] = 0;
    old_status = 0; old_worker = 0; old_claim = 0; old_length = 0; 
    run_shares = 0 };
}
#endif

init {
  atomic {
    alive[1] = true; alive[2] = true;
#ifdef BIRTH
    run_status = ABSENT; run Worker(1, true);
#else
    run_status = PENDING; run Worker(1, false);
#endif
    run Worker(2, false); run Judge(1); run Judge(2);
#ifdef FAILOVER
    run Replica()
#endif
  };
  timeout -> assert(run_status == CLOSED || (run_status == ABSENT && primary > 0))
}
