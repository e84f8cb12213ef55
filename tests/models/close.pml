/* A run ends: by its own turn, or by somebody else (terminate, replace), while messages come and
   a retry opens it again. Who writes a position first has it; keys tell whose row it is.

   What each step stands for:
     Backend    a session inside commit() (sql/commit.sql): `for no key update skip locked` for a
                close, `for key share skip locked` and the verdict, then journal, close, commit
     Instance   the worker (_runtime/committer.py): the same rows again until it is answered
     Outsider   close_from_outside() (sql/start.sql) under `for update`: an event at the next
                position, then the end
     Retrier    retry() (sql/retry.sql) under `for update`: `voided` at the next position
     Sender     deliver() (sql/inbox.sql): `for no key update`, look, insert
   The claim after the retry is the second instance. A close cannot miss the row's lock: `update`
   takes it by itself; the lock before it is there so that no batch waits (test_strangers.py).

   holds: UNKNOWNS=1
   holds: UNKNOWNS=1 OWN_ROW_UNLOCKED            without the key share, positions decide alone
   fails: UNKNOWNS=1 DELIVER_UNLOCKED            deliver reads the status and does not lock
   fails: UNKNOWNS=1 BLIND_SUCCESS               any row at the position counts as ours
   fails: UNKNOWNS=1 WITHOUT_EVENT OWN_ROW_UNLOCKED   an end from outside that writes no event
   fails: UNKNOWNS=1 RETRY_DELETES OWN_ROW_UNLOCKED   a retry that makes a position free again
*/
#define OPEN 0
#define FAILED 1
#define COMPLETED 2
#define TERMINATED 3

#define NONE 0
#define DONE 1
#define LOST 2
#define LEFT_OUT 3
#define GO 4

#define ROWS 5

byte status, worker = 1, claim = 1, results;
byte shares; bool strong, exclusive;          /* locks on the run: key share, no key update, update */
byte length, keys[ROWS];
byte sends[3], reply[3], unknowns;
bool voided;
#define ours (status == OPEN && worker == me && claim == me)

proctype Backend(byte me, send, first, key, end) {
  bool holds_share, holds_strong; byte verdict = GO;
again:
  atomic {
    if
    :: end != OPEN && (strong || exclusive) -> verdict = LEFT_OUT
    :: end != OPEN && !strong && !exclusive -> strong = true; holds_strong = true
    :: else
    fi };
  atomic {
    if
    :: length > first && keys[first] == key ->
      if :: ours || end != OPEN -> verdict = DONE :: else -> verdict = LOST fi
#ifdef BLIND_SUCCESS
    :: length > first && keys[first] != key -> verdict = DONE
#else
    :: length > first && keys[first] != key -> verdict = LOST
#endif
    :: length < first -> verdict = LOST
    :: length == first && !ours -> verdict = LOST
    :: length == first && ours && (verdict == LEFT_OUT || exclusive) -> verdict = LEFT_OUT
    :: length == first && ours && verdict == GO && !exclusive ->
#ifndef OWN_ROW_UNLOCKED
      shares++; holds_share = true
#endif
    fi };
  atomic {
    if
    :: verdict == GO && length > first ->                /* 23505: the caller repeats */
      shares = shares - holds_share; holds_share = false;
      if :: holds_strong -> strong = false; holds_strong = false :: else fi;
      goto again
    :: verdict == GO && length == first ->
      assert(status == OPEN);
      keys[first] = key; length++;
      if :: end != OPEN -> status = end; worker = 0; results++ :: else fi;
      verdict = DONE
    :: verdict == GO && length < first -> assert(false)  /* a gap */
    :: else
    fi;
    if :: verdict == DONE -> assert(keys[first] == key) :: else fi;
    shares = shares - holds_share;
    if :: holds_strong -> strong = false :: else fi;
    if :: sends[me] == send -> reply[me] = verdict :: else fi }
}

proctype Instance(byte me, next, last, end) {
  byte verdict;
turn:
  atomic { run Backend(me, sends[me], next, me * 8 + next, (next == last -> end : OPEN)) };
  atomic {
    if
    :: reply[me] != NONE -> verdict = reply[me]; reply[me] = NONE
    :: unknowns < UNKNOWNS && reply[me] == NONE -> unknowns++; sends[me]++; goto turn
    fi;
    if
    :: verdict == LEFT_OUT
    :: verdict == DONE && next < last -> next++; goto turn
    :: else -> goto over
    fi };
  !strong && !exclusive -> goto turn;    /* set aside: it queues for the lock */
over: skip
}

proctype Outsider() {
  atomic { !strong && !exclusive && shares == 0 -> exclusive = true };
  atomic {
    if
    :: status == OPEN ->
#ifndef WITHOUT_EVENT
      keys[length] = 7; length++;
#endif
      status = TERMINATED; worker = 0; results++
    :: else
    fi;
    exclusive = false }
}

proctype Retrier() {
  atomic { status != OPEN && !strong && !exclusive && shares == 0 -> exclusive = true };
  atomic {
    exclusive = false;
    if
    :: status == FAILED -> voided = true; results--; status = OPEN; worker = 2; claim = 2;
#ifdef RETRY_DELETES
      length--; keys[length] = 0;
#else
      keys[length] = 6; length++;
#endif
      run Instance(2, length, length, COMPLETED)
    :: else
    fi }
}

proctype Sender() {
  bool closed;
#ifdef DELIVER_UNLOCKED
  closed = status != OPEN;
  atomic { assert(closed || status == OPEN) }
#else
  atomic { !strong && !exclusive -> strong = true };
  closed = status != OPEN;
  atomic { assert(closed == (status != OPEN)); strong = false }
#endif
}

init {
  atomic { run Instance(1, 0, 1, FAILED); run Outsider(); run Retrier(); run Sender() };
  timeout -> assert(status != OPEN && results == 1)
}
