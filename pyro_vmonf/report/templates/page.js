"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const system = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const hasButtons = !coarse && innerWidth >= 600;
  const config = {
    responsive: true,
    displaylogo: false,
    // A page about private data sends nothing anywhere.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
  };

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  // Asked once, and only for a figure that needs it: browsers allow few contexts.
  let webgl;
  const hasWebgl = () => {
    if (webgl === undefined) {
      const context = document.createElement("canvas").getContext("webgl");
      webgl = Boolean(context);
      context?.getExtension("WEBGL_lose_context")?.loseContext();
    }
    return webgl;
  };

  // All colours that depend on the theme; axes without a setting of their own take those of the template.
  const template = () => {
    const axis = {
      automargin: true,
      gridcolor: colour("line"),
      linecolor: colour("muted"),
      zerolinecolor: colour("line"),
      tickcolor: colour("muted"),
      title: { standoff: 8 },
    };
    return {
      layout: {
        font: { color: colour("text"), size: 13, family: getComputedStyle(document.body).fontFamily },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        hoverlabel: { align: "left", font: { size: 13, color: colour("text") }, bgcolor: colour("panel") },
        modebar: { orientation: "v", color: colour("muted"), activecolor: colour("text"), bgcolor: "rgba(0,0,0,0)" },
        xaxis: axis,
        yaxis: axis,
      },
    };
  };

  const scale = () => [[0, colour("low")], [0.5, colour("middle")], [1, colour("high")]];

  const themedData = (figure) =>
    figure.data.map((trace) => {
      const found = trace.meta === "diverging" ? { ...trace, colorscale: scale() } : trace;
      return found.type === "scattergl" && !hasWebgl() ? { ...found, type: "scatter" } : found;
    });

  const themedLayout = (figure, width) => ({
    autosize: true,
    height: figure.height,
    margin: { l: 56, r: figure.plain || !hasButtons ? 16 : 44, t: figure.plain ? 8 : 40, b: figure.plain ? 28 : 48 },
    showlegend: !figure.plain && figure.data.length > 1,
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { size: 13 }, itemsizing: "constant" },
    dragmode: coarse ? false : "zoom",
    uirevision: "kept",
    ...structuredClone(figure.layout),
    template: template(),
    ...(width ? { width, autosize: false } : {}),
  });

  const draw = (chart, width) => {
    const figure = figures[chart.dataset.figure];
    return Plotly.react(chart, themedData(figure), themedLayout(figure, width), {
      ...config,
      displayModeBar: hasButtons && !figure.plain ? "hover" : false,
    });
  };

  const drawAll = () => Promise.all(charts.map((chart) => draw(chart)));

  const describeButton = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    button.setAttribute("aria-pressed", String(isDark()));
  };

  const changeTheme = () => {
    describeButton();
    drawAll();
  };

  try {
    const kept = localStorage.getItem("vmonf-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch (error) {
    // A page that is opened from a file may have no storage; then the theme is that of the system.
  }
  describeButton();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("vmonf-theme", root.dataset.theme);
    } catch (error) {
      // As above.
    }
    changeTheme();
  });
  system.addEventListener("change", changeTheme);

  // A printed page has another width, and no dark theme.
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    for (const chart of charts) draw(chart, chart.closest(".grid") ? 320 : 660);
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    drawAll();
  });

  // One figure after the other, with a pause in which the browser answers.
  const begin = async () => {
    for (const chart of charts) {
      await draw(chart);
      await new Promise((next) => setTimeout(next));
    }
    root.dataset.drawn = String(charts.length);
  };
  begin();
})();
