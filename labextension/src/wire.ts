// Generated from the Python side by tests/tools/generate_wire.py (make wire); a test fails when it is stale.

export type Phase =
  | 'Pending'
  | 'Running'
  | 'Restarting'
  | 'Suspended'
  | 'Succeeded'
  | 'Failed'
  | 'Unknown';

export interface Ref {
  kind: string;
  name: string;
  namespace: string;
  uid: string;
}

export interface Event {
  type: string;
  reason: string;
  message: string;
  about: Ref;
  count: number;
  last: number | null;
  source: string;
}

export interface Condition {
  type: string;
  status: boolean;
  reason: string;
  message: string;
  since: number | null;
}

export interface Status {
  phase: Phase;
  conditions: Condition[];
  replicas: Record<string, Record<string, number>>;
  created: number | null;
  started: number | null;
  finished: number | null;
  reason: string;
  message: string;
}

export interface Replica {
  role: string;
  index: number;
  phase: string;
  pod: string;
  node: string;
  restarts: number;
  exit_code: number | null;
  reason: string;
  message: string;
  started: number | null;
  finished: number | null;
}

export interface LogLine {
  replica: string;
  text: string;
  time: number | null;
}

export interface Point {
  value: number;
  step: number | null;
  time: number | null;
}

export type Cause =
  | 'Suspended'
  | 'OperatorAbsent'
  | 'QuotaExceeded'
  | 'AdmissionRefused'
  | 'InvalidJob'
  | 'LargerThanAnyMachine'
  | 'MachinesBusy'
  | 'InsufficientResources'
  | 'NoMachineAccepts'
  | 'GangWaiting'
  | 'Unschedulable'
  | 'VolumeMissing'
  | 'VolumeProvisioning'
  | 'VolumeMount'
  | 'ConfigMissing'
  | 'ImagePull'
  | 'CannotStart'
  | 'CrashLoop'
  | 'OutOfMemory'
  | 'PythonError'
  | 'PackagesNotInstalled'
  | 'ExitCode'
  | 'DeadlineExceeded'
  | 'Evicted'
  | 'Preempted'
  | 'NodeLost'
  | 'NodeShutdown'
  | 'Other';

export interface Explanation {
  sentence: string;
  hint: string;
  replica: string;
  traceback: string;
  cause: Cause;
}

export interface JobView {
  ref: Ref;
  framework: string;
  status: Status;
  replicas: Replica[];
  log: LogLine[];
  metrics: Record<string, Record<string, Point[]>>;
  progress: number | null;
  eta: number | null;
  explanation: Explanation | null;
  seen: number;
}

export interface JobRow {
  uid: string;
  kind: string;
  namespace: string;
  name: string;
  framework: string;
  phase: Phase;
  message: string;
  cause: Cause | null;
  created: number;
  started: number | null;
  finished: number | null;
  roles: Record<string, number>;
  active: number;
  succeeded: number;
  failed: number;
  replicas: number;
  cpu: number;
  memory: number;
  gpu: number;
  origin: string;
  owner: string;
  deleting: boolean;
}

export interface JobGroup {
  namespace: string;
  count: number;
  running: number;
  failed: number;
  collapsed: boolean;
}

export interface JobPage {
  total: number;
  matched: number;
  size: number;
  offset: number;
  items: (JobRow | JobGroup)[];
  counts: Record<string, number>;
  namespaces: string[];
}

export interface JobsRecord {
  version: number;
  cluster: string;
  namespace: string;
  seen: number;
  total: number;
  rows: JobRow[];
}

export interface Link {
  state: 'connecting' | 'live' | 'stopped' | 'unreachable' | 'refused';
  message: string;
  hint: string;
}

export interface Framework {
  name: string;
  title: string;
  roles: string[];
  image: string;
  leads: boolean;
}

export interface Capacity {
  nodes: number;
  cpu: number;
  memory: number;
  gpu: number;
  free_cpu: number;
  free_memory: number;
  free_gpu: number;
  largest_cpu: number;
  largest_memory: number;
  quota: string;
}

export interface HardwareOffer {
  slug: string;
  title: string;
  hardware: string;
  room: string;
  fits: boolean;
  ever: boolean;
}

export interface ClusterInfo {
  name: string;
  namespace: string;
  why: string;
  link: Link;
  frameworks: Framework[];
  capacity: Capacity | null;
  profiles: HardwareOffer[];
  fault: string;
}

export interface Context {
  name: string;
  namespace: string;
  server: string;
}

export interface Contexts {
  current: string;
  contexts: Context[];
}

export interface UseRequest {
  context: string;
  namespace: string;
}

export interface JobKey {
  kind: string;
  namespace: string;
  name: string;
  uid: string;
}

export interface LaunchRequest {
  framework: string;
  code: string;
  path: string;
  folder: string;
  filename: string;
  name: string;
  namespace: string;
  workers: number | null;
  replicas: Record<string, number>;
  cpu: string;
  memory: string;
  gpu: number;
  profile: string;
  nproc: number;
  env: Record<string, string>;
  args: string[];
  params: Record<string, unknown>;
  image: string;
  install: string[];
  output: string;
  volumes: string[];
  replace: boolean;
  submission: string;
  like: JobKey | null;
}

export interface Gap {
  sentence: string;
  requirements: string[];
}

export interface PlanAnswer {
  name: string;
  namespace: string;
  kind: string;
  summary: string;
  yaml: string;
  python: string;
  magic: string;
  fits: string;
  room: boolean;
  code: string;
  dropped: string[];
  gaps: Gap[];
}

export interface JobDetail {
  key: JobKey;
  manifest: string;
  version: string;
  provenance: Record<string, unknown>;
  code: string;
  filename: string;
  files: string[];
  suspended: boolean;
  suspendable: boolean;
}

export interface Copies {
  magic: string;
  python: string;
  yaml: string;
  kubectl: string;
}

export interface StudyCopies {
  magic: string;
  python: string;
  yaml: string;
  kubectl: string;
  form: string;
  best: string;
}

export interface TrialDetail {
  name: string;
  state: string;
  message: string;
  parameters: Record<string, string>;
  metrics: Record<string, string>;
  exit_code: number | null;
  tail: string[];
  pods: string[];
  why: string;
  hint: string;
  events: Event[];
}

export interface Failure {
  message: string;
  hint: string;
  reason: string;
  now: JobDetail | null;
  both: string;
}

export interface EndpointKey {
  namespace: string;
  name: string;
  uid: string;
}

export interface EndpointRevision {
  number: number;
  cause: string;
  author: string;
  notebook: string;
  when: number;
  traffic: Record<string, number>;
  models: Record<string, string>;
}

export interface EndpointDetail {
  key: EndpointKey;
  revisions: EndpointRevision[];
  manifest: string;
  example: string;
  url: string;
}

export interface GraphDraft {
  id: string;
  name: string;
  type: 'MODEL' | 'ROUTER' | 'COMBINER' | 'TRANSFORMER' | 'OUTPUT_TRANSFORMER';
  by: string;
  settings: Record<string, unknown>;
  model: string;
  unit: string;
  called: string;
  kept: boolean;
  children: GraphDraft[];
}

export interface KeptPart {
  model: string;
  unit: string;
  called: string;
  kind: string;
  type: 'MODEL' | 'ROUTER' | 'COMBINER' | 'TRANSFORMER' | 'OUTPUT_TRANSFORMER';
  endpoint: string;
  when: number;
}

export interface Workshop {
  version: string;
  draft: GraphDraft;
  parts: KeptPart[];
  routers: Record<string, string[]>;
  combiners: Record<string, string[]>;
  missing: string;
}

export interface Scaling {
  least: number;
  most: number;
  rps: number | null;
  idle: number | null;
}

export interface ChangeRequest {
  what: 'traffic' | 'promote' | 'rollback' | 'mirror' | 'remove' | 'graph' | 'scale';
  shares: Record<string, number>;
  version: string;
  percent: number;
  revision: number | null;
  graph: GraphDraft | null;
  scaling: Scaling | null;
  mark: string;
}

export interface ChangePlan {
  cause: string;
  diff: string;
  mark: string;
  slow: boolean;
  python: string;
  yaml: string;
}

export interface ChangeDone {
  key: EndpointKey;
  revision: number;
}

export interface TryRequest {
  value: unknown;
}

export interface TryAnswer {
  value: unknown;
  version: string;
  seconds: number;
  routing: Record<string, number>;
  tags: Record<string, unknown>;
  request: unknown;
  response: unknown;
}

export interface FeedbackRequest {
  request: unknown;
  response: unknown;
  reward: number;
}

export interface JobQuery {
  text: string;
  phases: string[];
  namespace: string;
  sort: string;
  descending: boolean;
  grouped: boolean;
  collapsed: string[];
  offset: number;
  limit: number;
}

export interface AskRows {
  id: string;
  query: JobQuery;
  type: 'rows';
}

export interface AskJob {
  id: string;
  key: JobKey;
  type: 'job';
}

export interface AskLines {
  id: string;
  key: JobKey;
  type: 'lines';
}

export interface AskStudies {
  id: string;
  type: 'studies';
}

export interface AskEndpoints {
  id: string;
  type: 'endpoints';
}

export interface AskKernels {
  id: string;
  type: 'kernels';
}

export interface AskEndpoint {
  id: string;
  key: EndpointKey;
  type: 'endpoint';
}

export interface StudyKey {
  namespace: string;
  name: string;
  uid: string;
}

export interface AskStudy {
  id: string;
  key: StudyKey;
  type: 'study';
}

export interface Close {
  id: string;
  type: 'close';
}

export interface LinkFrame {
  link: Link;
  cluster: string;
  namespace: string;
  type: 'link';
}

export interface RowsFrame {
  id: string;
  total: number;
  matched: number;
  size: number;
  offset: number;
  items: (string | JobGroup)[];
  rows: JobRow[];
  counts: Record<string, number>;
  namespaces: string[];
  type: 'rows';
}

export interface JobFrame {
  id: string;
  gone: boolean;
  error: string;
  view: Partial<JobView>;
  type: 'job';
}

export interface Line {
  r: string;
  s: string;
  t: number | null;
}

export interface LinesFrame {
  id: string;
  lines: Line[];
  done: boolean;
  error: string;
  type: 'lines';
}

export interface StudyRow {
  uid: string;
  namespace: string;
  name: string;
  state: string;
  message: string;
  objective: string;
  algorithm: string;
  done: number;
  running: number;
  failed: number;
  budget: number;
  best: number | null;
  parameters: Record<string, string>;
  created: number;
  finished: number | null;
}

export interface StudiesFrame {
  id: string;
  rows: StudyRow[];
  total: number;
  served: boolean;
  type: 'studies';
}

export interface VersionShare {
  name: string;
  traffic: number;
  mirror: boolean;
  ready: number;
  wanted: number;
}

export interface EndpointRow {
  uid: string;
  namespace: string;
  name: string;
  state: string;
  message: string;
  protocol: string;
  versions: VersionShare[];
  path: string;
  url: string;
  revision: number;
  created: number;
  deleting: boolean;
  detail: string;
  kind: string;
}

export interface EndpointsFrame {
  id: string;
  rows: EndpointRow[];
  total: number;
  served: boolean;
  type: 'endpoints';
}

export interface KernelStart {
  kernel_id: string;
  hardware: string;
  notebook: string;
  state: 'waiting' | 'failed';
  sentence: string;
  hint: string;
}

export interface KernelsFrame {
  id: string;
  starts: KernelStart[];
  type: 'kernels';
}

export interface GraphUnit {
  name: string;
  type: string;
  children: GraphUnit[];
}

export interface VersionView {
  name: string;
  state: string;
  traffic: number;
  mirror: number | null;
  wanted: number;
  ready: number;
  graph: string;
  called: string;
  kind: string;
  model: string;
  code: string;
  explanation: Explanation | null;
  asleep: boolean;
  units: GraphUnit | null;
  width: number;
  example: string;
  scaling: Scaling | null;
  awake: string;
}

export interface EndpointView {
  ref: Ref;
  state: string;
  protocol: string;
  path: string;
  versions: VersionView[];
  revision: number;
  pending: Record<string, number> | null;
  message: string;
  divided: boolean | null;
  seen: number;
}

export interface Branch {
  chosen: number;
  feedbacks: number;
  reward: number | null;
}

export interface Totals {
  requests: number;
  errors: number;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  feedbacks: number;
  reward: number | null;
  branches: Record<string, Branch>;
}

export interface Chosen {
  rate: number;
  reward: number | null;
}

export interface Moment {
  rate: number;
  errors: number;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  reward: number | null;
  branches: Record<string, Chosen>;
}

export interface Sample {
  at: number;
  versions: Record<string, Moment>;
}

export interface Finding {
  about: string;
  name: string;
  test: string;
  size: number;
  p: number;
  rows: number;
  alarm: boolean;
  edges: (number | string)[];
  expected: number[];
  seen: number[];
  value: number | null;
  usual: number | null;
  answer: string;
  changed: boolean;
}

export interface Said {
  when: number;
  type: string;
  reason: string;
  message: string;
}

export interface Findings {
  findings: Finding[];
  alarms: Said[];
  rows: number;
  copies: number;
  unread: number;
  why: string;
  dropped: number;
  sample: number;
  window: number;
  least: number;
  effect: number;
  trouble: string;
  left: Record<string, string>;
  started: number;
}

export interface EndpointFrame {
  id: string;
  gone: boolean;
  error: string;
  view: EndpointView | null;
  totals: Record<string, Totals>;
  samples: Sample[];
  fresh: boolean;
  monitored: boolean;
  findings: Findings | null;
  unwatched: string;
  type: 'endpoint';
}

export interface StudyParameter {
  name: string;
  type: string;
  low: number | null;
  high: number | null;
  log: boolean;
  values: string[];
}

export interface ParameterShare {
  name: string;
  share: number;
}

export interface StudyHead {
  uid: string;
  namespace: string;
  name: string;
  state: string;
  message: string;
  objective: string;
  direction: string;
  goal: number | null;
  algorithm: string;
  parameters: StudyParameter[];
  metrics: string[];
  budget: number;
  parallel: number;
  best: string;
  done: number;
  running: number;
  failed: number;
  created: number;
  finished: number | null;
  eta: number | null;
  seen: number;
  resumable: boolean;
  importance: ParameterShare[];
}

export interface StudyTrial {
  name: string;
  number: number;
  state: string;
  values: string[];
  value: number | null;
  metrics: (number | null)[];
  curve: number[][];
  started: number | null;
  began: number | null;
  finished: number | null;
  message: string;
}

export interface StudyFrame {
  id: string;
  gone: boolean;
  error: string;
  head: StudyHead | null;
  trials: StudyTrial[];
  removed: string[];
  total: number;
  fresh: boolean;
  type: 'study';
}

export interface StudyRecord {
  version: number;
  total: number;
  head: StudyHead;
  trials: StudyTrial[];
}

export interface EndedFrame {
  row: JobRow;
  type: 'ended';
}
