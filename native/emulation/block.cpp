#include "block.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = (256 << 10) + 1344;
#else
constexpr size_t kStack =
    (64 << 10) + 1344;  // not a power of two: stacks must not share cache sets
#endif
constexpr int kMeetings = 4;  // at most so many disjoint masks of one warp meet at a time

const char* nameOf(Wait wait) {
  static const char* const names[] = {"running",     "__syncthreads", "__syncwarp", "a shuffle",
                                      "a warp vote", "ldmatrix",      "mma"};
  return names[static_cast<int>(wait)];
}

// Stacks are kept for the next block.
class Stacks {
 public:
  char* take() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      char* stacks = free_.back();
      free_.pop_back();
      return stacks;
    }
    void* memory = mmap(nullptr, kStack * kMaxThreads, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::fprintf(stderr, "emulation: no memory for stacks\n");
      std::abort();
    }
    return static_cast<char*>(memory);
  }
  void give(char* stacks) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(stacks);
  }

 private:
  std::mutex mutex_;
  std::vector<char*> free_;
};
Stacks& stacks() {
  static Stacks* all = new Stacks;  // outlives every thread
  return *all;
}

void land(const AsyncCopy& copy) {
  std::memcpy(copy.destination, copy.source, static_cast<size_t>(copy.valid));
  std::memset(static_cast<char*>(copy.destination) + copy.valid, 0,
              static_cast<size_t>(copy.bytes - copy.valid));
}

}  // namespace

thread_local Block* Block::running_ = nullptr;

Block::Block(dim3 grid_, dim3 dimensions_, size_t sharedBytes, uint64_t seed)
    : grid(grid_),
      dimensions(dimensions_),
      count_(static_cast<int>(dimensions_.x * dimensions_.y * dimensions_.z)),
      sharedBytes_(sharedBytes),
      random_(seed),
      order_(seed == 0   ? Order::turns
             : seed == 1 ? Order::ahead
                         : Order::random) {
  if (count_ > kMaxThreads) {
    std::fprintf(stderr, "emulation: a block of %d threads\n", count_);
    std::abort();
  }
  threads_.resize(static_cast<size_t>(count_));
  meetings_.resize(static_cast<size_t>((count_ + kWarp - 1) / kWarp) * kMeetings);
  shared = static_cast<unsigned char*>(
      std::aligned_alloc(1024, (sharedBytes + 1023) / 1024 * 1024 + 1024));
  stacks_ = stacks().take();
}

Block::~Block() {
  std::free(shared);
  stacks().give(stacks_);
}

void Block::run(uint3 index_, const std::function<void()>& body) {
  index = index_;
  body_ = &body;
  live_ = count_;
  std::memset(shared, 0xff, sharedBytes_);
  ready_.clear();
  for (int i = 0; i < count_; ++i) {
    Thread& thread = threads_[static_cast<size_t>(i)];
    const unsigned n = static_cast<unsigned>(i);
    thread.index = {n % dimensions.x, n / dimensions.x % dimensions.y,
                    n / (dimensions.x * dimensions.y)};
    thread.done = false;
    thread.wait = Wait::none;
    startFiber(thread.fiber, stacks_ + static_cast<size_t>(i) * kStack, kStack, entry);
    wake(i);
  }
  Block* before = running_;
  running_ = this;
  at_ = next();
  switchFiber(scheduler_, thread().fiber);
  running_ = before;
}

void Block::entry() {
  Block& block = *running_;
  fiberEntered(block.scheduler_);
  (*block.body_)();
  Thread& self = block.thread();
  if (!self.open.empty() || !self.groups.empty()) {
    // A copy nobody waited for may land in another thread's data.
    for (const auto& group : self.groups)
      for (const AsyncCopy& copy : group) land(copy);
    for (const AsyncCopy& copy : self.open) land(copy);
    self.open.clear();
    self.groups.clear();
  }
  self.done = true;
  --block.live_;
  Barrier& all = block.barriers_[0];
  if (all.arrived > 0 && all.arrived == block.live_) block.release(all);
  if (block.live_ == 0) {
    switchFiber(self.fiber, block.scheduler_, true);
  } else {
    block.at_ = block.next();
    switchFiber(self.fiber, block.thread().fiber, true);
  }
  std::abort();  // nobody comes back
}

int Block::next() {
  if (ready_.empty()) deadlock();
  if (order_ == Order::ahead) {
    const int newest = ready_.back();
    ready_.pop_back();
    return newest;
  }
  if (order_ == Order::random) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    const size_t pick = static_cast<size_t>((random_ >> 33) % ready_.size());
    std::swap(ready_[pick], ready_.front());
  }
  const int thread = ready_.front();
  ready_.pop_front();
  return thread;
}

void Block::pause(Wait wait, uint32_t mask) {
  Thread& self = thread();
  const int me = at_;
  self.wait = wait;
  self.mask = mask;
  at_ = next();
  if (at_ != me) switchFiber(self.fiber, thread().fiber);
  self.wait = Wait::none;
}

void Block::release(Barrier& barrier) {
  for (const int thread : barrier.waiting) wake(thread);
  barrier.waiting.clear();
  barrier.arrived = 0;
}

void Block::barrier(int id, int count) {
  Barrier& here = barriers_[id];
  ++here.arrived;
  if (here.arrived == (count < 0 ? live_ : count)) {
    release(here);
    return;
  }
  here.waiting.push_back(at_);
  pause(Wait::barrier, 0);
}

void Block::meet(Wait kind, uint32_t mask, void* argument, Work work) {
  const int warp = at_ / kWarp, mine = lane();
  const int lanes = count_ - warp * kWarp;
  const uint32_t exist = lanes >= kWarp ? ~0u : (1u << lanes) - 1;
  if ((mask >> mine & 1) == 0 || (mask & ~exist) != 0) wrong("a mask with the wrong lanes", mask);
  Meeting* meeting = nullptr;
  Meeting* unused = nullptr;
  for (int i = 0; i < kMeetings; ++i) {
    Meeting& each = meetings_[static_cast<size_t>(warp * kMeetings + i)];
    if (each.arrived == 0) {
      unused = &each;
    } else if ((each.mask & mask) != 0) {
      if (each.mask != mask || each.kind != kind)
        wrong("lanes of one warp that meet in different collectives", mask);
      meeting = &each;
    }
  }
  if (meeting == nullptr) {
    if (unused == nullptr) wrong("too many collectives of one warp at a time", mask);
    meeting = unused;
    meeting->kind = kind;
    meeting->mask = mask;
  }
  meeting->arrived |= 1u << mine;
  meeting->arguments[mine] = argument;
  if (meeting->arrived != mask) {
    pause(kind, mask);
    return;
  }
  if (work != nullptr) work(meeting->arguments, mask);
  meeting->arrived = 0;
  for (int l = 0; l < kWarp; ++l)
    if ((mask >> l & 1) != 0 && l != mine) wake(warp * kWarp + l);
}

void Block::copyAsync(const AsyncCopy& copy) {
  std::memset(copy.destination, 0xff, static_cast<size_t>(copy.bytes));
  thread().open.push_back(copy);
}

void Block::commitCopies() {
  Thread& self = thread();
  self.groups.push_back(std::move(self.open));
  self.open.clear();
}

void Block::waitCopies(int groupsInFlight) {
  auto& groups = thread().groups;
  while (static_cast<int>(groups.size()) > groupsInFlight) {
    for (const AsyncCopy& copy : groups.front()) land(copy);
    groups.pop_front();
  }
}

void Block::wrong(const char* what, uint32_t mask) {
  std::fprintf(stderr, "emulation: block (%u, %u, %u), thread %d: %s (mask %08x)\n", index.x,
               index.y, index.z, at_, what, mask);
  std::abort();
}

void Block::deadlock() {
  std::fprintf(stderr, "emulation: deadlock in block (%u, %u, %u)\n", index.x, index.y, index.z);
  for (int i = 0; i < count_; ++i) {
    const Thread& thread = threads_[static_cast<size_t>(i)];
    const bool same = i > 0 && threads_[static_cast<size_t>(i - 1)].wait == thread.wait &&
                      threads_[static_cast<size_t>(i - 1)].done == thread.done;
    if (same) continue;
    std::fprintf(stderr, "  from thread %d: %s, mask %08x\n", i,
                 thread.done ? "ended" : nameOf(thread.wait), thread.mask);
  }
  std::abort();
}

}  // namespace emulation
