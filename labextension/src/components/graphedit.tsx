/** The graph of a version, edited by mouse and keyboard. Nothing happens before what would change was shown and applied. */

import * as React from 'react';

import * as drafts from '../drafts';
import type { EndpointKey, EndpointView, GraphDraft, Workshop } from '../wire';
import type { Changing } from './change';
import { useKubeflow } from './context';
import { VersionChoice } from './versionchoice';
import { Drawing } from './graphdraw';
import { UnitTools } from './graphtools';

interface EditorProps {
  view: EndpointView;
  endpoint: EndpointKey;
  changing: Changing;
}

/** The button that opens the editor, and the editor. */
export function GraphEditor({ view, endpoint, changing }: EditorProps): React.JSX.Element | null {
  const { client, trans } = useKubeflow();
  const [version, setVersion] = React.useState('');
  const [workshop, setWorkshop] = React.useState<Workshop | null>(null);
  const [error, setError] = React.useState('');
  const [busy, setBusy] = React.useState(false);
  const { done, last } = changing;
  // What was drawn is served now: the graph that is shown above is the live one.
  React.useEffect(() => {
    if (done && last === 'graph') {
      setWorkshop(null);
      setVersion('');
    }
  }, [done, last]);
  if (view.protocol !== 'seldon') {
    return null;
  }
  const usual = [...view.versions].sort((a, b) => b.traffic - a.traffic)[0]?.name ?? '';
  const wanted = view.versions.some(one => one.name === version) ? version : usual;
  const open = (name: string) => {
    setBusy(true);
    setError('');
    client.workshop(endpoint, name).then(
      found => {
        setWorkshop(found);
        setBusy(false);
      },
      (caught: unknown) => {
        setError(caught instanceof Error ? caught.message : String(caught));
        setBusy(false);
      }
    );
  };
  if (!workshop) {
    return (
      <>
        <div className="kfx-Tools-row kfx-GraphEdit-open">
          {view.versions.length > 1 && (
            <VersionChoice versions={view.versions} label={trans.__('Version to edit')} value={wanted} onChoose={setVersion} />
          )}
          <button type="button" className="kfx-Button" disabled={busy} onClick={() => open(wanted)}>
            {busy ? trans.__('Reading the graph …') : trans.__('Edit the graph …')}
          </button>
        </div>
        {error && (
          <div className="kfx-Notice" role="alert">
            {error}
          </div>
        )}
      </>
    );
  }
  const share = view.versions.find(one => one.name === workshop.version)?.traffic ?? 100;
  return <Editor key={workshop.version} workshop={workshop} share={share || 100} several={view.versions.length > 1} changing={changing} onClose={() => setWorkshop(null)} />;
}

interface Step {
  root: GraphDraft;
  said: string;
}

interface BodyProps {
  workshop: Workshop;
  share: number;
  several: boolean;
  changing: Changing;
  onClose: () => void;
}

function Editor({ workshop, share, several, changing, onClose }: BodyProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [steps, setSteps] = React.useState<Step[]>([{ root: workshop.draft, said: '' }]);
  const [chosen, choose] = React.useState(workshop.draft.id);
  const [percent, setPercent] = React.useState(share);
  const { root, said } = steps[steps.length - 1] ?? { root: workshop.draft, said: '' };
  const unit = drafts.unitOf(root, chosen) ?? root;
  const edit = (next: GraphDraft | null, told: string) => {
    if (next && next !== root) {
      setSteps([...steps, { root: next, said: told }]);
    }
  };
  const move = (id: string, to: string) => edit(drafts.moved(root, id, to), trans.__('%1 moved.', drafts.nameOf(root, id)));
  const remove = (id: string) => {
    const gone = drafts.unitOf(root, id);
    const above = drafts.parentOf(root, id);
    const next = drafts.without(root, id);
    edit(next, trans.__('%1 deleted.', gone ? drafts.titleOf(gone) : ''));
    if (next) {
      const near = gone?.children[0] ?? above ?? next;
      choose(drafts.unitOf(next, near.id) ? near.id : next.id);
    }
  };
  const sound = Number.isInteger(percent) && percent >= 0 && percent <= 100;
  return (
    <section
      className="kfx-GraphEdit"
      role="group"
      aria-label={trans.__('Editor of the graph of %1', workshop.version)}
      onKeyDown={event => {
        if ((event.ctrlKey || event.metaKey) && event.key === 'z' && !(event.target instanceof HTMLInputElement)) {
          event.preventDefault();
          event.stopPropagation();
          setSteps(before => (before.length > 1 ? before.slice(0, -1) : before));
        }
      }}
    >
      <p className="kfx-Note">
        {trans.__('What you make of %1 becomes a new version; %1 stays as it is. Choose a unit, or drag one to another place.', workshop.version)}
      </p>
      {workshop.missing && <p className="kfx-Note">{workshop.missing}</p>}
      <Drawing root={root} chosen={unit.id} onChoose={choose} onMove={move} onRemove={remove} />
      <UnitTools root={root} unit={unit} workshop={workshop} edit={edit} choose={choose} move={move} remove={remove} />
      <div className="kfx-sr" role="status">
        {said}
      </div>
      <div className="kfx-Tools-row">
        <label>
          {trans.__('Requests to the new version:')}{' '}
          <input
            type="number"
            className="kfx-Input kfx-Percent"
            min={0}
            max={100}
            value={Number.isNaN(percent) ? '' : percent}
            aria-label={trans.__('Percent of the requests to the new version')}
            data-lm-suppress-shortcuts=""
            onChange={event => setPercent(event.target.valueAsNumber)}
          />{' '}
          {several ? trans.__('% when it is ready; the others keep their proportions') : trans.__('% when it is ready')}
        </label>
      </div>
      <div className="kfx-Tools-row">
        <button
          type="button"
          className="kfx-Button kfx-primary"
          disabled={changing.busy || !sound}
          onClick={() => changing.begin({ what: 'graph', version: workshop.version, graph: root, percent })}
        >
          {trans.__('Show what changes …')}
        </button>
        <button type="button" className="kfx-Button" disabled={steps.length < 2} title={trans.__('Ctrl Z')} onClick={() => setSteps(steps.slice(0, -1))}>
          {trans.__('Undo')}
        </button>
        <button type="button" className="kfx-Button" onClick={onClose}>
          {trans.__('Close the editor')}
        </button>
      </div>
    </section>
  );
}
